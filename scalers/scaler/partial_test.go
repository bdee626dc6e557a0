package scaler

import (
	"context"
	"fmt"
	"testing"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// TestPartialAnswersAreTold: that a source warns is a matter of the user's, also
// where no data is a value.
func TestPartialAnswersAreTold(t *testing.T) {
	partial := fmt.Errorf("the result is empty, and half of it is lost: %w", ErrPartial)
	tests := map[string]struct {
		rule  NoDataRule
		err   error
		fails bool
		told  string
	}{
		"as zero":           {rule: NoDataZero, err: partial, told: partial.Error()},
		"strictly":          {rule: NoDataError, err: partial, fails: true},
		"nothing but empty": {rule: NoDataZero, err: ErrNoData},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := asking("q", &fake{answer: func(context.Context) ([]Reading, error) { return nil, tt.err }})
			b.noData, b.warnings = tt.rule, []string{"nam: unknown parameter"}
			snap := &snapshot{}
			snap.judge(nil, tt.err)
			o := b.observe(snap)
			if o.outcome != scalerv1.Outcome_OUTCOME_NO_DATA || (o.err != nil) != tt.fails || o.warning != tt.told {
				t.Errorf("observation = %+v", o)
			}
			if o.equal(&observation{outcome: o.outcome, err: o.err, values: o.values}) != (tt.told == "") {
				t.Error("a warning that comes is no news, or none is")
			}
			s := &subscription{binding: b, observation: o}
			if got := s.warnings(); len(got) != 1+min(len(tt.told), 1) {
				t.Errorf("warnings = %q", got)
			}
		})
	}
}
