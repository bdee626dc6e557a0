package scaling

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Outcome is what came of reading a trigger.
type Outcome int

const (
	// Pending: nothing was heard since the trigger was subscribed.
	Pending Outcome = iota
	// Value: the source answered with a number; 0 means that it is empty.
	Value
	// NoData: the source answered but has nothing to say, and the trigger's
	// rule is to hold. Where the rule makes it zero or an error, the family
	// reports that instead.
	NoData
	// Failed: the source did not answer, or not sensibly, or the answer is too
	// old.
	Failed
)

// Metric is one metric of a trigger. Name, Target and Type are known from the
// trigger's specs, also while it fails; Value and Active count only with
// outcome Value.
type Metric struct {
	// Name with its s<index>- prefix.
	Name string
	// Target is what one replica (AverageValue) or all together (Value) carry.
	Target float64
	// Type is AverageValue or Value.
	Type autoscalingv2.MetricTargetType
	// Value is the reading, in the unit of Target. NaN says that this metric
	// has none although the trigger was read.
	Value float64
	// Active is whether the reading exceeds the activation threshold.
	Active bool
}

// Trigger is what the controller knows of one trigger of an object.
type Trigger struct {
	// Index in spec.triggers.
	Index int
	// Outcome of the last reading.
	Outcome Outcome
	// Metrics of the trigger, empty while its specs are unknown.
	Metrics []Metric
	// Err says why with outcome Failed. It names the Service or the parameter;
	// Decide puts the trigger in front.
	Err error
	// Confirmed is when the outcome was last known to be true, on the
	// controller's clock: when the read ended, or the last beat. With Pending
	// it is when the trigger was subscribed.
	Confirmed time.Time
	// ReadAt is when the source was read for a Value, on the controller's
	// clock. Only decisions about Jobs look at it.
	ReadAt time.Time
	// Noticed is how the last reading came about: doorbell, polling, timer, ""
	// where nobody says. It is for people.
	Noticed string
	// Earlier is set with a reading of what the trigger was before something
	// around it changed: it moves nothing toward zero.
	Earlier bool
	// Interval is the time between two readings. A failure counts at most once
	// in that time, and in a polling interval.
	Interval time.Duration
	// StaleAfter is how long a confirmation holds; see the function of that
	// name. Zero stands for two polling intervals.
	StaleAfter time.Duration
	// Pulse is set when the trigger turned active since the last decision that
	// was carried out, even if it is no longer, or has failed since: a pulse
	// between two frames still activates.
	Pulse bool
	// CountsFrom is when a failure begins to count, zero for at once. A
	// doorbell's read never counts: if the source still fails by then, a
	// regular read has found it so.
	CountsFrom time.Time
	// Failures counted so far: those of the last decision's verdict.
	Failures Failures
}

// StaleAfter is how long an outcome holds without a word from the family: two
// sampling intervals and the deadline of a read. Older ones are errors.
func StaleAfter(interval, readDeadline time.Duration) time.Duration {
	return 2*interval + readDeadline
}

// SampleInterval is the time between two readings of trigger t. At rest, and
// always with useCachedMetrics, it is the user's; at work a reading is at most
// as old as the HPA's own period.
func SampleInterval(so *v1alpha1.ScaledObject, t v1alpha1.ScaleTrigger, atRest bool) time.Duration {
	switch {
	case atRest:
		interval, _ := so.IdlePollingInterval() // a bad annotation is reported by validation
		return interval
	case t.UseCachedMetrics:
		return so.PollingInterval()
	}
	return min(so.PollingInterval(), scalerv1.SyncPeriod)
}

// AtRest reports whether replicas are what the object holds while no trigger is
// active: zero, or at most idleReplicaCount.
func AtRest(so *v1alpha1.ScaledObject, replicas int32) bool {
	idle := so.Spec.IdleReplicaCount
	return replicas == 0 || idle != nil && replicas <= *idle
}

// Verdict is what a decision made of a trigger.
type Verdict struct {
	// Outcome after freshness was judged: what is too old is Failed.
	Outcome Outcome
	// Err says why with outcome Failed, the trigger named.
	Err error
	// Failures to pass to the next decision.
	Failures Failures
	// Fallback is set while the trigger is replaced by fallback.
	Fallback bool
	// Lasting is set with outcome Failed while waiting alone is not likely to
	// help.
	Lasting bool
}

var (
	// errSilent is the error of a trigger that has not been heard of for too long.
	errSilent = errors.New("no reading for too long")
	// errInherited is the error of one whose failures another process counted.
	errInherited = errors.New("it failed before this controller took over, and has not been read since")
)

// lastingAfter is how long a trigger may fail before nobody takes it for a
// passing trouble.
const lastingAfter = 10 * time.Minute

// permanent reports whether an error says that the source refuses, or that what
// is asked for is wrong or not there.
func permanent(err error) bool { return slices.Contains(permanentCodes, status.Code(err)) }

var permanentCodes = []codes.Code{
	codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.FailedPrecondition,
}

// rules are what a verdict on a trigger follows from, whatever object has it.
type rules struct {
	now      time.Time
	interval time.Duration // the polling interval
	triggers []v1alpha1.ScaleTrigger
	// threshold is how many failures a fallback waits for, nil without one.
	threshold *int32
}

// every puts a Pending in the place of each trigger nothing is known of.
func (r rules) every(known []Trigger) []Trigger {
	byIndex := map[int]Trigger{}
	for _, t := range known {
		byIndex[t.Index] = t
	}
	all := make([]Trigger, len(r.triggers))
	for i := range all {
		t, ok := byIndex[i]
		if !ok {
			t = Trigger{Index: i, Confirmed: r.now} // never stale: its silence has no beginning
		}
		all[i] = t
	}
	return all
}

// judge applies freshness, counts failures and decides on fallback.
func (r rules) judge(t Trigger) Verdict {
	spec := r.triggers[t.Index]
	if spec.Builtin() {
		return Verdict{Outcome: Value}
	}
	v := Verdict{Outcome: t.Outcome, Err: t.Err, Failures: t.Failures}
	if t.Outcome != Failed && r.now.After(r.staleAt(t)) {
		v.Outcome, v.Err = Failed, errSilent
	}
	switch v.Outcome {
	case Pending:
		// Neither a success nor a failure: a fallback that is in force stays so.
		if v.Fallback = r.replaces(v.Failures); v.Fallback {
			v.Err = &TriggerError{Index: t.Index, Type: spec.Type, Err: errInherited}
		}
	case Value, NoData:
		v.Failures = t.Failures.Succeeded()
	case Failed:
		if v.Err == nil {
			v.Err = errors.New("no reading")
		}
		v.Err = &TriggerError{Index: t.Index, Type: spec.Type, Err: v.Err}
		if !r.now.Before(t.CountsFrom) {
			v.Failures = t.Failures.Failed(r.now, r.countEvery(t))
		}
		v.Fallback = r.replaces(v.Failures)
		v.Lasting = permanent(v.Err) || !v.Failures.Since.IsZero() && !r.now.Before(v.Failures.Since.Add(lastingAfter))
	}
	return v
}

// replaces reports whether fallback stands in after so many failures.
func (r rules) replaces(f Failures) bool { return r.threshold != nil && f.Count > *r.threshold }

// next is when time alone changes the verdict on a trigger: its reading gets
// stale, one more failure counts that still matters, or its trouble is no longer
// a passing one.
func (r rules) next(t Trigger, v Verdict) time.Time {
	var lasts time.Time
	if v.Outcome == Failed && !v.Lasting && !v.Failures.Since.IsZero() {
		lasts = v.Failures.Since.Add(lastingAfter)
	}
	switch {
	case r.triggers[t.Index].Builtin():
	case v.Outcome != Failed:
		return r.staleAt(t).Add(time.Nanosecond)
	case r.threshold == nil || r.replaces(v.Failures):
	case r.now.Before(t.CountsFrom):
		return earliest(lasts, t.CountsFrom)
	default:
		return earliest(lasts, v.Failures.due(r.countEvery(t)))
	}
	return lasts
}

// countEvery is the time in which at most one failure counts. A trigger that is
// read less often than its polling interval says, as the user may ask for while
// it is idle, has failed once when one reading failed.
func (r rules) countEvery(t Trigger) time.Duration { return max(r.interval, t.Interval) }

// staleAt is the last moment at which the outcome holds.
func (r rules) staleAt(t Trigger) time.Time {
	after := t.StaleAfter
	if after == 0 {
		after = StaleAfter(r.interval, 0)
	}
	return t.Confirmed.Add(after)
}

// inherited reports whether all that is known of a trigger is that it failed
// when another process read it.
func (v Verdict) inherited() bool { return v.Outcome == Pending && v.Failures.Count > 0 }

// health is what status tells of a trigger's failures.
func (v Verdict) health() v1alpha1.HealthStatus {
	count, state := v.Failures.Count, v1alpha1.HealthHappy
	if v.Outcome == Failed || v.inherited() {
		state = v1alpha1.HealthFailing
	}
	return v1alpha1.HealthStatus{NumberOfFailures: &count, Status: state}
}

// label is how a trigger is called in words for the user.
func label(triggers []v1alpha1.ScaleTrigger, t Trigger) string {
	return fmt.Sprintf("trigger %d (%s)", t.Index, triggers[t.Index].Type)
}

// earliest is the earlier of two moments; zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
