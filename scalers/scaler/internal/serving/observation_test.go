package serving

import (
	"errors"
	"fmt"
	"testing"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// measured is a trigger of one metric.
func measured(rule contract.NoDataRule) *trigger.Binding {
	return &trigger.Binding{
		Metrics: []contract.Metric{{Name: "m", Target: 5}},
		Shape:   func(raw []contract.Reading) []contract.Reading { return raw },
		NoData:  rule,
	}
}

func TestObserve(t *testing.T) {
	value := func(readings ...contract.Reading) sampling.Snapshot {
		return sampling.Snapshot{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Readings: readings, Last: readings}
	}
	noData := func(last ...contract.Reading) sampling.Snapshot {
		return sampling.Snapshot{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA, Missing: fmt.Errorf("query: %w", contract.ErrNoData), Last: last}
	}
	four := contract.Reading{Value: 4, Activity: 4}
	tests := map[string]struct {
		rule    contract.NoDataRule
		snap    sampling.Snapshot
		outcome scalerv1.Outcome
		value   float64
		active  bool
		failing bool
	}{
		"a value":                      {snap: value(four), outcome: 1, value: 4, active: true},
		"zero is a value":              {snap: value(contract.Reading{}), outcome: 1},
		"a negative value is zero":     {snap: value(contract.Reading{Value: -2, Activity: -2}), outcome: 1},
		"activity is the raw number's": {snap: value(contract.Reading{Value: 0, Activity: 2}), outcome: 1, active: true},
		"no data is a failure":         {snap: noData(four), outcome: 2, failing: true},
		"no data may be zero":          {rule: contract.NoDataZero, snap: noData(four), outcome: 2},
		"no data may hold":             {rule: contract.NoDataHold, snap: noData(four), outcome: 2, value: 4, active: true},
		"nothing to hold is a failure": {rule: contract.NoDataHold, snap: noData(), outcome: 2, failing: true},
		"an error is not held": {
			rule: contract.NoDataHold, outcome: 3, failing: true,
			snap: sampling.Snapshot{Outcome: scalerv1.Outcome_OUTCOME_ERROR, Err: errors.New("down"), Last: []contract.Reading{four}},
		},
		"too few readings": {snap: value(), outcome: 3, failing: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := observe(measured(tt.rule), &tt.snap)
			if o.outcome != tt.outcome || (o.err != nil) != tt.failing {
				t.Fatalf("outcome = %v, err = %v", o.outcome, o.err)
			}
			if tt.failing {
				if o.values != nil {
					t.Errorf("values = %v beside a failure", o.values)
				}
				return
			}
			if o.values[0].value != tt.value || o.active() != tt.active {
				t.Errorf("observed = %+v, want %v, %v", o.values[0], tt.value, tt.active)
			}
		})
	}
}

// TestPartialAnswersAreTold: that a source warns is a matter of the user's, also
// where no data is a value.
func TestPartialAnswersAreTold(t *testing.T) {
	partial := fmt.Errorf("the result is empty, and half of it is lost: %w", contract.ErrPartial)
	tests := map[string]struct {
		rule  contract.NoDataRule
		err   error
		fails bool
		told  string
	}{
		"as zero":           {rule: contract.NoDataZero, err: partial, told: partial.Error()},
		"strictly":          {rule: contract.NoDataError, err: partial, fails: true},
		"nothing but empty": {rule: contract.NoDataZero, err: contract.ErrNoData},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := measured(tt.rule)
			b.Warnings = []string{"nam: unknown parameter"}
			o := observe(b, &sampling.Snapshot{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA, Missing: tt.err})
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
