package serving

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

type patientParams struct {
	Timeout time.Duration `param:"timeout"`
}

func (p patientParams) ReadTimeout() time.Duration { return p.Timeout }

func (patientParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "patient", Target: 1}}
}

func TestATimeoutThatIsNotKeptIsWarnedOf(t *testing.T) {
	patient := trigger.Define("patient", func(context.Context, patientParams) (contract.Source, error) { return podsSource{}, nil })
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
