package scaler

import (
	"errors"
	"fmt"
	"math"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
)

// snapshot is what the last completed read of a question came to. It is shared
// by all who ask the question and never changed.
type snapshot struct {
	// seq grows with every snapshot of the question.
	seq uint64
	// at is when the read was completed, took how long it lasted.
	at   time.Time
	took time.Duration

	// outcome is exactly one of value, no data and error.
	outcome scalerv1.Outcome
	// readings are raw, one per metric, finite; set with a value only.
	readings []contract.Reading
	// last are the readings of the last value, this one's included; nil when
	// the source never gave one.
	last []contract.Reading
	// err is set with an error only, missing with no data only: the source's
	// words about it.
	err, missing error

	// specs are the metrics as a Specced names them, or nil.
	specs []contract.Metric
	// detection is what made the sampler read.
	detection scalerv1.Detection
	// note is why the source is polled although it could ring, or "".
	note string
	// traceparent is the trace context of the read, or "".
	traceparent string
}

// errLost is what a member of a batch is told that has neither an answer nor a
// reason for there being none.
var errLost = fmt.Errorf("%w: left out of its batch's answers", defect.Err)

// judge decides which of the three outcomes a read has. It is the one place
// where "no data" is told from a value and from an error.
func (s *snapshot) judge(readings []contract.Reading, err error) {
	switch {
	case errors.Is(err, contract.ErrNoData):
		s.outcome, s.missing = scalerv1.Outcome_OUTCOME_NO_DATA, err
	case err != nil:
		s.outcome, s.err = scalerv1.Outcome_OUTCOME_ERROR, err
	case !finite(readings):
		s.outcome, s.missing = scalerv1.Outcome_OUTCOME_NO_DATA, contract.ErrNoData
	default:
		s.outcome, s.readings, s.last = scalerv1.Outcome_OUTCOME_VALUE, readings, readings
	}
}

// finite is false when a number is NaN or infinite, which is how many sources
// say that they have nothing to say.
func finite(readings []contract.Reading) bool {
	for _, r := range readings {
		for _, n := range []float64{r.Value, r.Activity} {
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return false
			}
		}
	}
	return true
}

// same is true when a ring that led from old to s changed nothing.
func (s *snapshot) same(old *snapshot) bool {
	if old == nil || s.outcome != old.outcome || len(s.readings) != len(old.readings) {
		return false
	}
	for i := range s.readings {
		if s.readings[i].Value != old.readings[i].Value || s.readings[i].Activity != old.readings[i].Activity {
			return false
		}
	}
	return true
}
