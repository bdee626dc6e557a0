package scaler

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// TestFlagsOfCredentials exist where a family takes credentials alone.
func TestFlagsOfCredentials(t *testing.T) {
	source := func(flags *flag.FlagSet, _ func(string) string) OpenResolver {
		flags.Bool("with-everything", false, "")
		return func(*slog.Logger) (ClosingResolver, error) { return nil, nil }
	}
	getenv := func(string) string { return "" }
	args := []string{"--plaintext", "--with-everything"}
	if _, err := parseSettings("wells", args, getenv, io.Discard, WithCredentials(source)); err != nil {
		t.Error(err)
	}
	if _, err := parseSettings("wells", args, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "with-everything") {
		t.Errorf("without credentials: %v, want an error about the flag", err)
	}
}

// TestTriggersThatTakeCredentialsNeedThem: a family that forgot to opt in does not
// start.
func TestTriggersThatTakeCredentialsNeedThem(t *testing.T) {
	clock := Define("clock", func(context.Context, clockParams) (Source, error) { return nil, ErrNoData })
	guarded := Define("well", func(context.Context, guardedParams) (Source, error) { return nil, ErrNoData })
	wells := []trigger.Trigger{clock, guarded}
	if err := checkCredentials(wells, true); err != nil {
		t.Error(err)
	}
	if err := checkCredentials(wells[:1], false); err != nil {
		t.Error(err)
	}
	const want = "trigger well takes password from an authentication: scaler.Serve needs scaler.WithCredentials"
	if err := checkCredentials(wells, false); err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

// guardedParams take a password from one.
type guardedParams struct {
	// Password opens the well.
	Password string `param:"password" from:"auth"`
}

func (guardedParams) Metrics() []Metric { return []Metric{{Name: "well", Target: 1}} }

// clockParams take nothing from an authentication.
type clockParams struct {
	// Zone is where the clock is.
	Zone string `param:"zone" from:"trigger,env"`
}

func (clockParams) Metrics() []Metric { return []Metric{{Name: "clock", Target: 1}} }
