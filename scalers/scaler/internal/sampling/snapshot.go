package sampling

import (
	"errors"
	"fmt"
	"math"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
)

// Snapshot is what the last completed read of a question came to. It is shared
// by all who ask the question and never changed.
type Snapshot struct {
	// Seq grows with every snapshot of the question.
	Seq uint64
	// At is when the read was completed, took how long it lasted.
	At   time.Time
	Took time.Duration

	// Outcome is exactly one of value, no data and error.
	Outcome scalerv1.Outcome
	// Readings are raw, one per metric, finite; set with a value only.
	Readings []contract.Reading
	// Last are the readings of the last value, this one's included; nil when
	// the source never gave one.
	Last []contract.Reading
	// Err is set with an error only, missing with no data only: the source's
	// words about it.
	Err, Missing error

	// Specs are the metrics as a Specced names them, or nil.
	Specs []contract.Metric
	// Detection is what made the sampler read.
	Detection scalerv1.Detection
	// Note is why the source is polled although it could ring, or "".
	Note string
	// Traceparent is the trace context of the read, or "".
	Traceparent string
}

// errLost is what a member of a batch is told that has neither an answer nor a
// reason for there being none.
var errLost = fmt.Errorf("%w: left out of its batch's answers", defect.Err)

// judge decides which of the three outcomes a read has. It is the one place
// where "no data" is told from a value and from an error.
func (s *Snapshot) judge(readings []contract.Reading, err error) {
	switch {
	case errors.Is(err, contract.ErrNoData):
		s.Outcome, s.Missing = scalerv1.Outcome_OUTCOME_NO_DATA, err
	case err != nil:
		s.Outcome, s.Err = scalerv1.Outcome_OUTCOME_ERROR, err
	case !Finite(readings):
		s.Outcome, s.Missing = scalerv1.Outcome_OUTCOME_NO_DATA, contract.ErrNoData
	default:
		s.Outcome, s.Readings, s.Last = scalerv1.Outcome_OUTCOME_VALUE, readings, readings
	}
}

// Finite is false when a number is NaN or infinite, which is how many sources
// say that they have nothing to say.
func Finite(readings []contract.Reading) bool {
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
func (s *Snapshot) same(old *Snapshot) bool {
	if old == nil || s.Outcome != old.Outcome || len(s.Readings) != len(old.Readings) {
		return false
	}
	for i := range s.Readings {
		if s.Readings[i].Value != old.Readings[i].Value || s.Readings[i].Activity != old.Readings[i].Activity {
			return false
		}
	}
	return true
}
