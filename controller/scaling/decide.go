package scaling

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Input is all a decision looks at.
type Input struct {
	// Object gives spec, annotations and creation time. Its status is not read.
	Object *v1alpha1.ScaledObject
	// Now on the controller's clock.
	Now time.Time
	// Replicas of the target as its spec has them, nil when they cannot be
	// read.
	Replicas *int32
	// ReplicasErr says why Replicas is nil.
	ReplicasErr error
	// LastActive is when activity was last known, zero for never. Whoever takes
	// over from another process adds that process's write period.
	LastActive time.Time
	// Triggers, one for each of spec.triggers, in any order. One that is absent
	// counts as Pending. Of cpu and memory nothing need be known.
	Triggers []Trigger
	// Formula is the compiled formula, FormulaErr why there is none; without
	// either it is compiled for this decision.
	Formula    *Formula
	FormulaErr error
}

// Decision is what follows from an Input.
type Decision struct {
	// Write is the number to write to spec.replicas, nil to leave it.
	Write *int32
	// Activation is the record of a rise, for the status once Write is done. With
	// another write, and at rest, there is none.
	Activation *v1alpha1.Activation
	// Scaled is the event when Write has succeeded, ScaleFailed when not: the
	// error is to be appended to its note. nil for a write without events.
	Scaled, ScaleFailed *Event

	// Ready is the runtime's verdict. The condition is the worse of this and
	// the last reconcile.
	Ready v1alpha1.Condition
	// Active is the condition, nil to leave it: while a first reading is still
	// to come and nothing else decides.
	Active *v1alpha1.Condition
	// Fallback is the condition, nil to leave it.
	Fallback *v1alpha1.Condition
	// LastActive is to be remembered and, now and then, stored.
	LastActive time.Time
	// ActiveMetrics are the names of the active metrics, in trigger order.
	ActiveMetrics []string
	// Activity of every external metric, for status.triggersActivity.
	Activity map[string]v1alpha1.TriggerActivity
	// Verdicts, one for each of spec.triggers. Their Failures belong into the
	// next Input. None while paused.
	Verdicts []Verdict
	// Health of every external metric, for status.health; nil without a
	// fallback.
	Health map[string]v1alpha1.HealthStatus
	// Replaced are the metrics in fallback, for status.fallback.
	Replaced []v1alpha1.FallbackVerdict
	// Next is when the decision can change without anything new being heard,
	// zero for never.
	Next time.Time
}

// Event is a Kubernetes event about the object. Action is short and constant,
// as the events API wants it.
type Event struct {
	Type, Reason, Action, Note string
}

// The reasons of the events that follow from a decision.
const (
	EventActivated          = "KEDAScaleTargetActivated"
	EventActivationFailed   = "KEDAScaleTargetActivationFailed"
	EventDeactivated        = "KEDAScaleTargetDeactivated"
	EventDeactivationFailed = "KEDAScaleTargetDeactivationFailed"
)

// Decide is the whole of what the controller decides about one object at one
// moment. lastActiveTime moves whenever active; a target below min is repaired
// although a trigger fails, but not against paused-scale-out; and nothing unknown
// ever leads to zero.
func Decide(in Input) Decision {
	fallback := FallbackOf(in.Object)
	r := in.rules(fallback)
	in.Triggers = r.every(in.Triggers)
	d := Decision{
		Ready:      condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonScaledObjectReady, ""),
		LastActive: in.LastActive,
	}
	if in.Object.Paused() {
		d.paused(in)
		return d
	}
	for _, t := range in.Triggers {
		v := r.judge(t)
		d.Verdicts = append(d.Verdicts, v)
		d.wake(r.next(t, v))
	}
	d.reportTriggers(in, fallback)
	if in.Replicas == nil {
		d.replicasUnknown(in)
		return d
	}
	d.reportFallback(in, fallback)
	ask := demandOf(in, d.Verdicts, fallback)
	d.ActiveMetrics = ask.metrics
	if ask.active || in.Object.ForceActivation() {
		d.active(in, ask)
	} else {
		d.inactive(in, ask, fallback)
	}
	return d
}

func (in Input) rules(fallback *v1alpha1.Fallback) rules {
	r := rules{now: in.Now, interval: in.Object.PollingInterval(), triggers: in.Object.Spec.Triggers}
	if fallback != nil {
		r.threshold = &fallback.FailureThreshold
	}
	return r
}

// trigger is the spec behind t.
func (in Input) trigger(t Trigger) v1alpha1.ScaleTrigger { return in.Object.Spec.Triggers[t.Index] }

// paused writes the count that annotation paused-replicas asks for.
func (d *Decision) paused(in Input) {
	want, err := in.Object.PausedReplicas()
	switch {
	case err != nil:
		d.Ready = condition(v1alpha1.ConditionReady, metav1.ConditionFalse,
			v1alpha1.ReasonScaledObjectCheckFailed, err.Error())
	case want == nil:
	case in.Replicas == nil:
		d.replicasUnknown(in)
	case *in.Replicas != *want:
		d.Write = want
	}
}

func (d *Decision) replicasUnknown(in Input) {
	message := "current replicas are unknown"
	if in.ReplicasErr != nil {
		message = in.ReplicasErr.Error()
	}
	d.Ready = condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonErrorGettingReplicas, message)
}

// demand is what the triggers ask for together.
type demand struct {
	active  bool
	metrics []string
	// errs are those of failing triggers that no fallback replaces.
	errs []error
	// lasting are those of failing triggers that waiting is not likely to help,
	// replaced or not.
	lasting []error
	// broken is why no metric could be computed out of triggers that are well.
	broken error
	// held says what else keeps the replicas from going to zero: readings that
	// are still to come or have no data.
	held []string
	// pending is set while a first reading is still to come.
	pending bool
	// replaced are the indexes of the triggers in fallback.
	replaced []int
}

// quiet reports whether every trigger has a value or is in fallback.
func (d *demand) quiet() bool { return len(d.errs) == 0 && len(d.held) == 0 && d.broken == nil }

func (d *demand) hold(why string) { d.held = append(d.held, why) }

// demandOf adds up the triggers. A metric in fallback is active, so that a
// target wakes although its source is down; only when the fallback itself asks
// for no replicas, it moves nothing.
func demandOf(in Input, verdicts []Verdict, fallback *v1alpha1.Fallback) demand {
	var d demand
	if in.Object.OnlyBuiltins() {
		d.active = true
		return d
	}
	composite := in.Object.Modifiers() != nil
	var earlier []string
	for i, t := range in.Triggers {
		v := verdicts[i]
		if t.Pulse && !composite {
			d.active = true
		}
		if v.Lasting {
			d.lasting = append(d.lasting, v.Err)
		}
		switch {
		case in.trigger(t).Builtin():
		case v.Fallback:
			d.replaced = append(d.replaced, t.Index)
			if !composite {
				d.fallback(t, FallbackReplicas(fallback, *in.Replicas))
			}
		case v.Outcome == Failed:
			d.errs = append(d.errs, v.Err)
		case v.Outcome == Pending:
			d.pending = true
			d.hold(label(in.Object.Spec.Triggers, t) + " has not been read yet")
		case v.Outcome == NoData:
			d.hold(label(in.Object.Spec.Triggers, t) + " has no data")
		default:
			d.value(in, t)
			if t.Earlier {
				earlier = append(earlier, label(in.Object.Spec.Triggers, t)+" has not been read since the workload or the object changed")
			}
		}
	}
	if composite {
		d.compose(in, verdicts, fallback)
	}
	d.held = append(d.held, earlier...) // they may wake a target, as before
	return d
}

// value adds a trigger that was read. A metric that is missing from it, or is
// no number, is not known to be empty.
func (d *demand) value(in Input, t Trigger) {
	if len(t.Metrics) == 0 {
		d.hold(label(in.Object.Spec.Triggers, t) + " has named no metric yet")
	}
	for _, m := range t.Metrics {
		if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
			d.hold(m.Name + " has no data")
			continue
		}
		if m.Active || t.Pulse {
			d.metrics = append(d.metrics, m.Name)
		}
	}
	d.active = d.active || len(d.metrics) > 0
}

// fallback adds a trigger that is replaced by a number of replicas.
func (d *demand) fallback(t Trigger, replicas int32) {
	if replicas == 0 {
		d.hold(fmt.Sprintf("trigger %d is in fallback", t.Index))
		return
	}
	d.active = true
	for _, m := range t.Metrics {
		d.metrics = append(d.metrics, m.Name)
	}
}

// active is block 3 of the tree.
func (d *Decision) active(in Input, ask demand) {
	now := condition(v1alpha1.ConditionActive, metav1.ConditionTrue, v1alpha1.ReasonScalerActive, "")
	d.Active = &now
	d.LastActive = in.Now
	if len(ask.errs) > 0 {
		d.Ready = condition(v1alpha1.ConditionReady, metav1.ConditionUnknown,
			v1alpha1.ReasonPartialTriggerError, joined(ask.errs))
	}
	d.lasts(ask, v1alpha1.ReasonPartialTriggerError)
	r, so := *in.Replicas, in.Object
	below := r == 0 || so.Spec.IdleReplicaCount != nil && r < so.MinReplicas()
	if !below || so.ScaleOutPaused() {
		return
	}
	to, metric := so.HPAMinReplicas(), ""
	if ask.active {
		to, metric = jump(in, d.Verdicts)
	}
	why := "triggered by " + strings.Join(ask.metrics, ";")
	switch {
	case !ask.active:
		why = "activation is forced"
	case len(ask.metrics) == 0:
		why = "triggers are active"
	}
	d.Write = &to
	d.recordRise(in, metric)
	d.announce(in, "Activate", EventActivated, EventActivationFailed, why)
}

// lasts tells of triggers that waiting is not likely to help: fallback must not
// make an object look healthy for weeks.
func (d *Decision) lasts(ask demand, reason string) {
	if len(ask.lasting) > 0 {
		d.Ready = condition(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, joined(ask.lasting))
	}
}

// inactive is block 4 of the tree.
func (d *Decision) inactive(in Input, ask demand, fallback *v1alpha1.Fallback) {
	quiet, failing := ask.quiet(), len(ask.errs) > 0 || ask.broken != nil
	// With a fallback the failures are counted and wait for the threshold; a
	// formula that does not work has nothing to wait for.
	if fallback != nil {
		for _, err := range ask.errs {
			ask.hold(err.Error())
		}
		ask.errs = nil
	}
	if ask.broken != nil {
		ask.errs = append(ask.errs, ask.broken)
	}
	if len(ask.errs) > 0 {
		d.Ready = condition(v1alpha1.ConditionReady, metav1.ConditionFalse,
			v1alpha1.ReasonTriggerError, joined(ask.errs))
	} else {
		d.lasts(ask, v1alpha1.ReasonTriggerError)
	}
	reason, message := v1alpha1.ReasonScalerNotActive, strings.Join(ask.held, ", ")
	r, so := *in.Replicas, in.Object
	rest, idle := so.MinReplicas(), so.Spec.IdleReplicaCount
	if idle != nil {
		rest = *idle
	}
	switch {
	case idle == nil && r < rest:
		if !so.ScaleOutPaused() {
			d.Write = &rest
			if r == 0 { // where the HPA does nothing
				d.recordRise(in, "")
			}
		}
	case r <= rest || idle == nil && so.MinReplicas() > 0:
		// Where it belongs, or the HPA's business.
	case !quiet || so.ScaleInPaused():
		// Held, whatever the cooldown says.
	case !cooled(in):
		reason = v1alpha1.ReasonScalerCooldown
		d.wake(cooldownEnd(in).Add(time.Nanosecond))
	default:
		d.Write = &rest
		d.announce(in, "Deactivate", EventDeactivated, EventDeactivationFailed, "no trigger is active")
	}
	if !ask.pending {
		now := inactivity(reason, message, failing)
		d.Active = &now
	}
}

// inactivity is the condition while no trigger is known to be active: one that
// fails may be.
func inactivity(reason, message string, failing bool) v1alpha1.Condition {
	if !failing {
		return condition(v1alpha1.ConditionActive, metav1.ConditionFalse, reason, message)
	}
	if message == "" {
		message = seeReady
	}
	return condition(v1alpha1.ConditionActive, metav1.ConditionUnknown, v1alpha1.ReasonUnknownState, message)
}

// seeReady is where the cause is told.
const seeReady = "see condition Ready"

// cooldownEnd is the moment after which the target may go to rest.
func cooldownEnd(in Input) time.Time {
	if in.LastActive.IsZero() {
		return in.Object.CreationTimestamp.Add(in.Object.InitialCooldownPeriod())
	}
	return in.LastActive.Add(in.Object.CooldownPeriod())
}

func cooled(in Input) bool { return in.Now.After(cooldownEnd(in)) }

// announce prepares the events of a write.
func (d *Decision) announce(in Input, action, reason, reasonFailed, why string) {
	target := fmt.Sprintf("%s %s/%s from %d to %d, %s", in.Object.TargetKind().Kind,
		in.Object.Namespace, in.Object.Spec.ScaleTargetRef.Name, *in.Replicas, *d.Write, why)
	d.Scaled = &Event{Type: corev1.EventTypeNormal, Reason: reason, Action: action, Note: brief("scaled " + target)}
	d.ScaleFailed = &Event{Type: corev1.EventTypeWarning, Reason: reasonFailed, Action: action, Note: brief("could not scale " + target)}
}

// reportTriggers fills what status shows of each trigger.
func (d *Decision) reportTriggers(in Input, fallback *v1alpha1.Fallback) {
	d.Activity = map[string]v1alpha1.TriggerActivity{}
	if fallback != nil {
		d.Health = map[string]v1alpha1.HealthStatus{}
	}
	for i, t := range in.Triggers {
		v := d.Verdicts[i]
		for _, m := range t.Metrics {
			active := t.Pulse || v.Outcome == Value && m.Active ||
				v.Fallback && fallback.Behavior != v1alpha1.FallbackScalingModifiers
			d.Activity[m.Name] = v1alpha1.TriggerActivity{IsActive: active}
			if fallback != nil && (v.Outcome != Pending || v.inherited()) {
				d.Health[m.Name] = v.health()
			}
		}
	}
}

// reportFallback fills the condition and the verdicts the metrics adapter acts
// on. Its events follow from the condition's transition.
func (d *Decision) reportFallback(in Input, fallback *v1alpha1.Fallback) {
	var causes []error
	replaced := map[string]bool{}
	for i, v := range d.Verdicts {
		if !v.Fallback {
			continue
		}
		causes = append(causes, v.Err)
		verdict := v1alpha1.FallbackVerdict{Since: metav1.NewTime(v.Failures.Since), Behavior: fallback.Behavior}
		if fallback.Behavior != v1alpha1.FallbackScalingModifiers {
			n := FallbackReplicas(fallback, *in.Replicas)
			verdict.Replicas = &n
		}
		for _, m := range in.Triggers[i].Metrics {
			verdict.Metric = m.Name
			if !replaced[m.Name] {
				replaced[m.Name] = true
				d.Replaced = append(d.Replaced, verdict)
			}
		}
	}
	now := condition(v1alpha1.ConditionFallback, metav1.ConditionFalse, v1alpha1.ReasonNoFallbackFound, "")
	if len(causes) > 0 {
		now = condition(v1alpha1.ConditionFallback, metav1.ConditionTrue, v1alpha1.ReasonFallbackExists, joined(causes))
	}
	d.Fallback = &now
}

// wake brings Next forward to at.
func (d *Decision) wake(at time.Time) { d.Next = earliest(d.Next, at) }

func condition(t v1alpha1.ConditionType, s metav1.ConditionStatus, reason, message string) v1alpha1.Condition {
	return v1alpha1.Condition{Type: t, Status: s, Reason: reason, Message: message}
}

func joined(errs []error) string {
	return strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; ")
}

// brief cuts a note to what the events API takes, leaving room for an error.
func brief(note string) string { return v1alpha1.Shorten(note, 800) }
