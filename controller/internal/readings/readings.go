// Package readings turns what the federation knows of an object's triggers into
// what package scaling decides on, and keeps what of it the next decision needs.
// It is the one place that does so, for ScaledObjects and ScaledJobs.
//
// A decision is told of, measured and traced by the Readings that it was made
// of: what was heard since belongs to the next one.
package readings

import (
	"math"
	"slices"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Reading is what was known of one trigger when a decision was made.
type Reading struct {
	// Trigger is what the decision looks at.
	scaling.Trigger
	// Read is what the last read came to as the family told it, however old that is.
	Read scaling.Outcome
	// ObservedAt is when that read was completed, on our own clock; zero before
	// the first.
	ObservedAt time.Time
	// EventTime is when the work arrived by the source's own clock, zero where
	// it does not tell.
	EventTime time.Time
	// Traceparent is the W3C trace context of the read, "" for none.
	Traceparent string
	// Odd is what the user should know of a trigger that works.
	Odd []string
}

// Asks reports whether the last read asked for at least one replica, whatever
// the decision made of it.
func (r Reading) Asks() bool {
	for _, m := range r.Metrics {
		if m.Active {
			return true
		}
	}
	return false
}

// Object is what a decision is made about.
type Object interface {
	// TriggerProblem is what is wrong with a trigger before anybody reads its
	// source, nil for nothing.
	TriggerProblem(index int) error
	GetGeneration() int64
}

// Question is what whoever decides knows about a trigger.
type Question struct {
	Index int
	Spec  v1alpha1.ScaleTrigger
	// Interval is the time between two readings.
	Interval time.Duration
	// Named are the names that the trigger's metrics have in the object's status,
	// which stand in while the family cannot be asked.
	Named []string
	// Waits reports whether a state is not to be decided by yet, as if nothing had
	// been read. nil is for never.
	Waits func(federation.State) bool
	// StandIns has numbers count that the trigger's rule for no data puts in place
	// of an answer. Without, no data is no reading: Jobs are started by the moment
	// of a reading, and a number that is only repeated would start them again.
	StandIns bool
}

// Read is what is known of a trigger now, of which state is what the federation
// knows, if it knows the trigger. ahead is true when that is about a later
// generation than the object: it is about to show.
func (k *Known) Read(o Object, q Question, state federation.State, known bool, now time.Time) (r Reading, ahead bool) {
	if known && state.Generation > o.GetGeneration() {
		return r, true
	}
	k.pace(q.Interval, now)
	r.Trigger = scaling.Trigger{
		Index:      q.Index,
		Metrics:    metrics(q, state),
		Confirmed:  latest(k.firstSeen, k.paced, state.Since),
		Interval:   q.Interval,
		StaleAfter: scaling.StaleAfter(q.Interval, max(scalerv1.ReadDeadline, state.ReadDeadline)),
		Failures:   k.Failures,
	}
	if known && (state.Unkept || state.Generation >= k.since) {
		r.Pulse = k.pulsed(state.Activations)
		r.judge(q, state, latest(state.HeardAt, k.paced), now)
		r.CountsFrom = countsFrom(state, q.Interval)
		r.Noticed = string(state.DetectedBy)
		r.Read, r.ObservedAt, r.EventTime, r.Traceparent, r.Odd = state.Outcome, state.ObservedAt, state.SourceEventTime, state.Traceparent, state.Odd()
	}
	if problem := o.TriggerProblem(q.Index); problem != nil {
		r.failed(problem, now)
		r.Pulse = false
	}
	return r, false
}

// judge fills in what a family said that was confirmed at a moment.
func (r *Reading) judge(q Question, state federation.State, confirmed, now time.Time) {
	r.Earlier = state.Earlier
	switch {
	case state.Rejected != nil:
		r.failed(state.Rejected, now)
	case state.Unreachable != nil:
		r.failed(state.Unreachable, now)
	case state.Outcome == scaling.Pending:
	case state.Earlier && now.After(confirmed.Add(r.StaleAfter)):
		// Of what the trigger was before, and too old: as it is now it has yet to
		// be read, for as long as any other may take.
	case q.Waits != nil && q.Waits(state):
	case state.Err != nil:
		r.failed(state.Err, confirmed)
	case state.Outcome == scaling.Value, q.StandIns && len(state.Values) > 0:
		r.Outcome, r.Confirmed, r.ReadAt = scaling.Value, confirmed, state.ObservedAt
	default:
		r.Outcome, r.Confirmed = scaling.NoData, confirmed
	}
}

func (r *Reading) failed(err error, confirmed time.Time) {
	r.Outcome, r.Err, r.Confirmed = scaling.Failed, err, confirmed
}

// countsFrom is when a failure of a trigger that is read every interval counts:
// at once, but that of a read which a doorbell caused only when a regular one
// was due, and likewise that of a family that nobody reaches: an instance that
// is replaced is back by then.
func countsFrom(state federation.State, interval time.Duration) time.Time {
	switch {
	case state.Rejected != nil:
	case state.Unreachable != nil && state.Outcome != scaling.Pending:
		return state.HeardAt.Add(interval)
	case state.Unreachable == nil && state.Err != nil && state.DetectedBy == federation.DetectionDoorbell:
		return state.ObservedAt.Add(interval)
	}
	return time.Time{}
}

// metrics are those of a trigger as the family names them, else, while it cannot
// be asked, as they were called last: fallback stands in for those.
func metrics(q Question, state federation.State) []scaling.Metric {
	read := make(map[string]federation.Value, len(state.Values))
	for _, v := range state.Values {
		read[v.Metric] = v
	}
	var all []scaling.Metric
	for _, s := range state.Specs {
		// A metric without a reading is unknown, not empty.
		m := scaling.Metric{Name: scaling.MetricName(q.Index, s.Name), Target: s.Target, Type: q.Spec.TargetType(), Value: math.NaN()}
		if v, ok := read[s.Name]; ok {
			m.Value, m.Active = v.Value, v.Active
		}
		all = append(all, m)
	}
	if len(all) > 0 {
		return all
	}
	for _, name := range q.Named {
		all = append(all, scaling.Metric{Name: name, Value: math.NaN()})
	}
	return all
}

// mostOfNames is what the names of a trigger's metrics may have, in bytes: as
// much as a family may say, and their prefixes.
const mostOfNames = 5 << 10

// Named are the names of metrics in a status, by the index of their trigger.
// Whoever may edit the object may write there what they like: each trigger has
// no more than a family could have said of it, and no name twice.
func Named(status []string, triggers int) [][]string {
	named, bytes := make([][]string, triggers), make([]int, triggers)
	for _, name := range status {
		i, _, ok := scaling.SplitMetricName(name)
		if !ok || i >= triggers || len(named[i]) >= v1alpha1.MostMetricsOfTrigger || bytes[i]+len(name) > mostOfNames ||
			slices.Contains(named[i], name) {
			continue
		}
		named[i], bytes[i] = append(named[i], name), bytes[i]+len(name)
	}
	return named
}

// Triggers are what of readings a decision looks at.
func Triggers(readings []Reading) []scaling.Trigger {
	all := make([]scaling.Trigger, len(readings))
	for i, r := range readings {
		all[i] = r.Trigger
	}
	return all
}

// Names are those of a trigger's metrics.
func (r Reading) Names() []string {
	all := make([]string, len(r.Metrics))
	for i, m := range r.Metrics {
		all[i] = m.Name
	}
	return all
}

// Newest is when the newest of the readings was made that no decision before
// followed from, zero without any, and which of them are such.
func Newest(known []Known, readings []Reading) (at time.Time, fresh []Reading) {
	for _, r := range readings {
		if k := &known[r.Index]; r.ObservedAt.After(k.observed) {
			k.observed = r.ObservedAt
			at = latest(at, r.ObservedAt)
			fresh = append(fresh, r)
		}
	}
	return at, fresh
}

// Traceparent is the trace context of the newest reading that asks for
// replicas, or of the newest where none does.
func Traceparent(readings []Reading) string {
	var best *Reading
	for i := range readings {
		r := &readings[i]
		switch {
		case r.Traceparent == "":
		case best == nil, r.Asks() && !best.Asks(), r.Asks() == best.Asks() && r.ObservedAt.After(best.ObservedAt):
			best = r
		}
	}
	if best == nil {
		return ""
	}
	return best.Traceparent
}

// latest is the latest of some moments.
func latest(first time.Time, others ...time.Time) time.Time {
	for _, other := range others {
		if other.After(first) {
			first = other
		}
	}
	return first
}
