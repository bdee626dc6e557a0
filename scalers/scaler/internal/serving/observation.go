package serving

import (
	"errors"
	"fmt"
	"slices"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// observation is what a snapshot means to one subscription, after its shape,
// its targets, its thresholds and the rule for no data were applied.
type observation struct {
	values  []observed
	outcome scalerv1.Outcome
	// err is set when the observation counts as a failure.
	err       error
	detection scalerv1.Detection
	eventTime time.Time
	took      time.Duration // of the read
	// traceparent is the trace context of the read, or "".
	traceparent string
	note        string
	// warning is what the user is told beside the values, or "".
	warning string
}

// observed is one metric of an observation.
type observed struct {
	name string
	// value is finite and not negative.
	value  float64
	active bool
}

// active is true when any metric asks for a replica.
func (o *observation) active() bool {
	for _, v := range o.values {
		if v.active {
			return true
		}
	}
	return false
}

// equal is true when a client that knows one observation need not be sent the
// other.
func (o *observation) equal(other *observation) bool {
	if o == nil || other == nil {
		return o == other
	}
	return o.outcome == other.outcome && o.note == other.note && o.warning == other.warning &&
		slices.Equal(o.values, other.values) && failure.Text(o.err) == failure.Text(other.err)
}

// observe works out what a snapshot means to the trigger of b.
func observe(b *trigger.Binding, s *sampling.Snapshot) *observation {
	o := &observation{outcome: s.Outcome, detection: s.Detection, took: s.Took, traceparent: s.Traceparent, note: s.Note}
	metrics := b.Metrics
	if s.Specs != nil {
		metrics = s.Specs
	}
	raw := s.Readings
	switch s.Outcome {
	case scalerv1.Outcome_OUTCOME_ERROR:
		o.err = s.Err
		return o
	case scalerv1.Outcome_OUTCOME_NO_DATA:
		raw = instead(b.NoData, s, len(metrics))
		if raw == nil {
			o.err = s.Missing
			return o
		}
		if errors.Is(s.Missing, contract.ErrPartial) {
			o.warning = s.Missing.Error()
		}
	case scalerv1.Outcome_OUTCOME_UNSPECIFIED, scalerv1.Outcome_OUTCOME_VALUE:
	}
	readings, err := shaped(b, raw)
	if err == nil && len(readings) != len(metrics) {
		err = fmt.Errorf("%w: %d readings for %d metrics", defect.Err, len(readings), len(metrics))
	}
	if err != nil {
		o.outcome, o.err = scalerv1.Outcome_OUTCOME_ERROR, err
		return o
	}
	if !sampling.Finite(readings) {
		o.outcome, o.err = scalerv1.Outcome_OUTCOME_NO_DATA, contract.ErrNoData
		return o
	}
	for i, r := range readings {
		o.values = append(o.values, observed{
			name: metrics[i].Name,
			// A negative number is emitted as 0, but activity is decided on
			// the number itself.
			value:  max(r.Value, 0),
			active: r.Activity > metrics[i].Activation,
		})
		if o.eventTime.IsZero() {
			o.eventTime = r.EventTime
		}
	}
	return o
}

// instead returns the readings that stand for no data, or nil when the rule
// makes it a failure.
func instead(rule contract.NoDataRule, s *sampling.Snapshot, metrics int) []contract.Reading {
	switch rule {
	case contract.NoDataZero:
		return make([]contract.Reading, metrics)
	case contract.NoDataHold:
		return s.Last
	default:
		return nil
	}
}

// shaped applies the subscription's Shape, whose panic is a reading's error.
func shaped(b *trigger.Binding, raw []contract.Reading) (readings []contract.Reading, err error) {
	defer defect.Recovered("shape", &err)
	return b.Shape(raw), nil
}
