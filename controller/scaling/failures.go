package scaling

import (
	"math"
	"time"
)

// Failures counts the consecutive failures of one trigger: at most one per
// polling interval, on the controller's clock, however often it is read or
// asked about. While it fails, each further interval counts one: a read that
// was skipped for back-off is a failure too.
type Failures struct {
	// Count of consecutive failures.
	Count int32
	// Since is when the first of them was counted, zero while Count is 0.
	Since time.Time
	// Last is when one was last counted, or would have been. It outlives a
	// success, so that a trigger which flaps within an interval counts once.
	Last time.Time
}

// SeedFailures continues from a count that was stored by another process. since
// is zero where that did not tell when it began: then it is now at the latest.
func SeedFailures(count int32, since, now time.Time) Failures {
	if count <= 0 {
		return Failures{}
	}
	if since.IsZero() {
		since = now
	}
	return Failures{Count: count, Since: since, Last: now}
}

// Succeeded ends the row of failures.
func (f Failures) Succeeded() Failures {
	return Failures{Last: f.Last}
}

// Failed takes note at now that the trigger fails.
func (f Failures) Failed(now time.Time, interval time.Duration) Failures {
	interval = max(interval, time.Second) // the schema's minimum
	due := f.due(interval)
	if now.Before(due) {
		return f
	}
	if f.Count == 0 {
		return Failures{Count: 1, Since: now, Last: now}
	}
	missed := int64(now.Sub(due)/interval) + 1
	f.Last = f.Last.Add(time.Duration(missed) * interval)
	f.Count = int32(min(int64(f.Count)+missed, math.MaxInt32))
	return f
}

// due is the earliest time at which the next failure counts.
func (f Failures) due(interval time.Duration) time.Time {
	if f.Last.IsZero() {
		return time.Time{}
	}
	return f.Last.Add(interval)
}
