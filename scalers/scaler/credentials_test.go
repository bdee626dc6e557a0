package scaler

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// TestAFamilyWithoutCredentialsSaysSo: whatever leads to credentials is refused by
// name, and what the workload has in plain text is good.
func TestAFamilyWithoutCredentialsSaysSo(t *testing.T) {
	text := "deep"
	env := map[string]scalerv1.EnvVar{
		"PLAIN":  {Value: &text},
		"SECRET": {SecretKeyRef: &scalerv1.KeyRef{Name: "login", Key: "password"}},
	}
	tests := map[string]struct {
		ref  contract.Reference
		want string
	}{
		"an authentication": {contract.Reference{Authentication: "ClusterTriggerAuthentication/login"}, "authenticationRef: ClusterTriggerAuthentication/login"},
		"a Secret": {contract.Reference{Inline: map[string]scalerv1.KeyRef{"password": {Name: "login", Key: "password"}}},
			"secretKeyRef (password): a Secret"},
		"a variable of a Secret": {contract.Reference{Env: env, Variables: []string{"PLAIN", "SECRET"}}, "variable SECRET: a Secret or ConfigMap"},
		"a variable":             {contract.Reference{Env: env, Variables: []string{"PLAIN"}}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := noCredentials{"wells"}.Resolve(t.Context(), tt.ref)
			if tt.want == "" {
				if err != nil || got.Env["PLAIN"] != text {
					t.Errorf("credentials = %+v, %v", got, err)
				}
				return
			}
			if want := tt.want + " is not read: family wells takes no credentials"; status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %q", err, want)
			}
		})
	}
}

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
	wells := []trigger.Trigger{clock, (&well{}).trigger()}
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

// clockParams take nothing from an authentication.
type clockParams struct {
	// Zone is where the clock is.
	Zone string `param:"zone" from:"trigger,env"`
}

func (clockParams) Metrics() []Metric { return []Metric{{Name: "clock", Target: 1}} }
