package scaler

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

func TestATimeoutOfTheTriggersOwnCounts(t *testing.T) {
	tests := map[string]struct {
		interval, timeout, want time.Duration
	}{
		"none of its own":              {interval: time.Minute, want: 10 * time.Second},
		"longer than a short interval": {interval: time.Second, timeout: 8 * time.Second, want: 8 * time.Second},
		"longer than the usual limit":  {interval: 15 * time.Second, timeout: 30 * time.Second, want: 30 * time.Second},
		"longer than what is allowed":  {interval: 15 * time.Second, timeout: time.Hour, want: time.Minute},
		"shorter than the interval":    {interval: 15 * time.Second, timeout: time.Second, want: 10 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				given := make(chan time.Duration, 1)
				b := asking("q", &fake{answer: func(ctx context.Context) ([]contract.Reading, error) {
					end, _ := ctx.Deadline()
					select {
					case given <- time.Until(end):
					default:
					}
					return contract.One(1), nil
				}})
				b.timeout = tt.timeout
				s.join(b, userEvery(tt.interval).user)
				if got := <-given; got != tt.want {
					t.Errorf("a read is given %v, want %v", got, tt.want)
				}
			})
		})
	}
}

type patientParams struct {
	Timeout time.Duration `param:"timeout"`
}

func (p patientParams) ReadTimeout() time.Duration { return p.Timeout }

func (patientParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "patient", Target: 1}}
}

func TestATimeoutThatIsNotKeptIsWarnedOf(t *testing.T) {
	patient := trigger.Define("patient", func(context.Context, patientParams) (contract.Source, error) { return &fake{}, nil })
	for timeout, want := range map[string][]string{
		"30s": nil,
		"2m":  {"timeout: a read ends after 1m0s, as --max-read-timeout has it, and not after 2m0s"},
	} {
		c := newCore(Config{Family: "test", Triggers: []trigger.Trigger{patient}})
		req := trigger.Request{Ref: &externalscaler.ScaledObjectRef{ScalerMetadata: map[string]string{scalerv1.KeyTriggerType: "patient", "timeout": timeout}}}
		b, err := c.bind(patient, req, nil)
		if err != nil || !slices.Equal(b.Warnings, want) {
			t.Errorf("%s: warnings = %q, %v, want %q", timeout, b.Warnings, err, want)
		}
	}
}
