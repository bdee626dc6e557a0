// Package activation turns observations into writes of 0 or idle to N and of N
// to 0 or idle. Everything between is the HPA's.
package activation

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/rules"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Loop decides about one ScaledObject on every observation, beat, change of
// the object or its target, and when time alone changes the decision. It runs
// on the leader alone and keeps no goroutine per object.
type Loop struct {
	Client  client.Client
	Targets *target.Client
	Status  *status.Writer
	// States answers from memory what families said about a trigger.
	States func(federation.ID) (federation.State, bool)
	Errors Errors
	// Resubscribe is called for an object whose target changed and is watched by
	// nobody. It must not block.
	Resubscribe func(types.NamespacedName)
	// Figures measures decisions. nil measures nothing.
	Figures Figures
	// Traces receives a span for every decision that changes the replicas, as
	// part of the trace of the reading that it follows from. nil traces nothing.
	Traces trace.TracerProvider
	// Room is what earlier decisions about ScaledObjects may take; nil is for
	// nothing.
	Room *kept.Budget
	Now  func() time.Time

	effect  effect // of nudges
	mu      sync.Mutex
	started time.Time
	objects map[types.NamespacedName]*memory
}

// Errors counts failures for the operator of the installation.
type Errors interface {
	// Failed counts n more failures of a trigger with its metrics; n may be 0.
	Failed(so *v1alpha1.ScaledObject, trigger int, metrics []string, n int32)
	// ForgetTrigger drops what was counted for a trigger.
	ForgetTrigger(object types.NamespacedName, trigger int)
	// Forget drops what was counted for an object.
	Forget(object types.NamespacedName)
}

// Figures measures decisions for the operator of the installation.
type Figures interface {
	// Decided tells how late a decision was: since the newest word that it
	// follows from was heard.
	Decided(so *v1alpha1.ScaledObject, late time.Duration)
	// Woken tells how long it took from the arrival of work, by the source's
	// own clock, to the write of the replicas.
	Woken(triggerType string, after time.Duration)
	// Objective takes note of what the object's user wants of its wakes, or does
	// not want any more.
	Objective(so *v1alpha1.ScaledObject)
	// Woke counts a rise from rest: how long its work had waited when replicas were
	// written, where the source tells when it arrived.
	Woke(so *v1alpha1.ScaledObject, after time.Duration, told bool)
	// Started tells how long work that arrived at zero waited for a ready replica.
	Started(so *v1alpha1.ScaledObject, after time.Duration)
	// Nudged counts an HPA that was made to look at its metrics at once.
	Nudged()
	// Read takes a reading of a trigger with its metrics, which may be without
	// data.
	Read(so *v1alpha1.ScaledObject, trigger int, metrics []string, empty bool)
	// ForgetTrigger drops what was measured for a trigger.
	ForgetTrigger(object types.NamespacedName, trigger int)
	// Forget drops what was measured for an object.
	Forget(object types.NamespacedName)
}

// Reconcile decides about one object and acts.
func (l *Loop) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	so := &v1alpha1.ScaledObject{}
	if err := l.Client.Get(ctx, request.NamespacedName, so); err != nil {
		if apierrors.IsNotFound(err) {
			l.forget(request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	m := l.memory(so)
	l.announce(so, m)
	switch {
	case !so.DeletionTimestamp.IsZero():
		return reconcile.Result{}, nil
	case so.Paused(): // needs a target and nothing else of the spec
		return l.pause(ctx, so, m)
	case so.Validate() != nil:
		return reconcile.Result{}, nil //nolint:nilerr // the reconciler says why
	}
	return l.decide(ctx, so, m)
}

// pause writes the replicas that annotation paused-replicas asks for, if it
// does.
func (l *Loop) pause(ctx context.Context, so *v1alpha1.ScaledObject, m *memory) (reconcile.Result, error) {
	m.pause()
	if count, _ := so.PausedReplicas(); count == nil {
		// One that cannot be understood is the reconciler's to report.
		return reconcile.Result{}, l.Status.Paused(ctx, so, nil)
	}
	in := scaling.Input{Object: so, Now: l.Now()}
	t, err := l.Targets.Get(ctx, so)
	if in.ReplicasErr = err; err == nil {
		in.Replicas = ptr.To(m.replicas(t))
	}
	decision, err := l.unrivalled(ctx, so, t, scaling.Decide(in))
	if err != nil {
		return reconcile.Result{}, err
	}
	wrote, failed := l.act(ctx, so, m, t, nil, decision, l.explain(m, in, decision))
	if wrote || apierrors.IsConflict(failed) || ctx.Err() != nil {
		return reconcile.Result{RequeueAfter: told(wrote)}, failed
	}
	if err := errors.Join(l.Status.Paused(ctx, so, failed), failed); err != nil {
		return reconcile.Result{}, err
	}
	if in.ReplicasErr != nil {
		return reconcile.Result{RequeueAfter: unreadable}, nil //nolint:nilerr // the reconciler says why
	}
	return reconcile.Result{}, nil
}

// unreadable is how often a paused object's target is looked at again that
// cannot be read: nothing else brings the object back.
const unreadable = time.Minute

// decide looks at all there is, writes what follows and remembers it.
func (l *Loop) decide(ctx context.Context, so *v1alpha1.ScaledObject, m *memory) (reconcile.Result, error) {
	t, err := l.Targets.Get(ctx, so)
	in, read, ahead := l.input(so, m, t, err)
	if ahead {
		// The triggers are those of a spec that the cache is about to show.
		return reconcile.Result{}, nil
	}
	l.inherit(ctx, so, m, in)
	decision, err := l.unrivalled(ctx, so, t, scaling.Decide(in))
	if err != nil {
		return reconcile.Result{}, err
	}
	l.count(so, m, read, decision)
	l.measure(so, m, read, in.Now)
	m.keep(decision)
	if in.Replicas != nil {
		l.noticed(ctx, m, t, *in.Replicas)
		l.ready(so, m, t, *in.Replicas)
	}
	wrote, failed := l.act(ctx, so, m, t, read, decision, l.explain(m, in, decision))
	if failed == nil && in.Replicas != nil {
		if !wrote {
			m.carriedOut() // once it is told, too
		}
		l.look(so, m, t, cmp.Or(decision.Write, in.Replicas))
	}
	if wrote || apierrors.IsConflict(failed) || ctx.Err() != nil {
		return reconcile.Result{RequeueAfter: told(wrote)}, failed
	}
	observed := status.Observed{Decision: decision, HPAActive: l.hpaActive(ctx, so), Changes: l.changes(m), Unscaled: failed}
	again, err := l.Status.Observed(ctx, so, observed)
	if err := errors.Join(err, failed); err != nil {
		return reconcile.Result{}, err
	}
	var nudge time.Duration
	if in.Replicas != nil {
		// The status has the record of a rise by now, which the HPA is answered by.
		nudge = l.nudge(ctx, so, m, t, read, decision)
	}
	return reconcile.Result{RequeueAfter: sooner(sooner(l.until(decision.Next), again), nudge)}, nil
}

// unrivalled is a decision that writes nothing where the target is another
// ScaledObject's, which the reconciler says: both would write theirs for ever.
func (l *Loop) unrivalled(ctx context.Context, so *v1alpha1.ScaledObject, t target.Target, d scaling.Decision) (scaling.Decision, error) {
	if d.Write == nil {
		return d, nil
	}
	err := rules.Rival(ctx, l.Client, so, t.GVKR)
	if rival := (*rules.RivalError)(nil); errors.As(err, &rival) {
		d.Write, d.Activation, d.Scaled, d.ScaleFailed = nil, nil, nil, nil
		return d, nil
	}
	return d, err
}

// inherit looks once whether another process led until just after it had raised the
// replicas of an object, and told nobody: before the status says that the object is
// active, by which the adapter knows of a rise no more.
func (l *Loop) inherit(ctx context.Context, so *v1alpha1.ScaledObject, m *memory, in scaling.Input) {
	if !m.inherits || in.Replicas == nil {
		return
	}
	m.inherits = false
	rise := scaling.Inherited(in)
	if rise == nil || so.Status.HpaName == "" {
		return
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if l.Client.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: so.Status.HpaName}, hpa) == nil && scaling.Unrecorded(so, hpa) {
		m.rise = rise
		l.Status.Rose(so, rise)
	}
}

// look has a target that nobody watches subscribed as it is now: at once when it
// goes to rest or wakes, and once per polling interval when anything else of it
// changed.
func (l *Loop) look(so *v1alpha1.ScaledObject, m *memory, t target.Target, replicas *int32) {
	if !t.Unwatched {
		return
	}
	now, rests := l.Now(), scaling.AtRest(so, *replicas)
	if rests == m.looked.atRest && (t.ResourceVersion == m.looked.version || now.Sub(m.looked.at) < so.PollingInterval()) {
		return
	}
	m.looked = look{at: now, atRest: rests, version: t.ResourceVersion}
	l.Resubscribe(client.ObjectKeyFromObject(so))
}

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// count tells of failures that the decision added.
func (l *Loop) count(so *v1alpha1.ScaledObject, m *memory, read []readings.Reading, d scaling.Decision) {
	for _, r := range read {
		added := d.Verdicts[r.Index].Failures.Count - m.triggers[r.Index].Failures.Count
		l.Errors.Failed(so, r.Index, r.Names(), max(added, 0))
	}
}

// until is the time from now to next, 0 for never.
func (l *Loop) until(next time.Time) time.Duration {
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(l.Now()), time.Millisecond)
}

// input is all that the decision looks at, and the readings it is made of. ahead
// is true when the triggers known are those of a later generation than so.
func (l *Loop) input(
	so *v1alpha1.ScaledObject, m *memory, t target.Target, targetErr error,
) (in scaling.Input, read []readings.Reading, ahead bool) {
	var replicas *int32
	if targetErr == nil {
		replicas = ptr.To(m.replicas(t))
	}
	return m.input(so, replicas, targetErr, known{l.States, l.waits(so)}, l.Now())
}

// waits reports whether a state is not to be decided by yet. What was heard
// before this process began to decide may wake a target by itself, but one word
// of our own hearing comes before anything goes toward zero.
func (l *Loop) waits(so *v1alpha1.ScaledObject) func(federation.State) bool {
	wakes := so.Modifiers() == nil
	return func(s federation.State) bool { return s.HeardAt.Before(l.began()) && (!wakes || !s.Active()) }
}

// act writes what the decision says and reports whether it wrote replicas. A
// conflict means that the target changed since it was read; its event brings the
// next decision.
//
// The record of a rise ends with the next write, and when the target is found at
// rest. It is told after the rise, with all else that follows from it, in one
// write of the status: the replicas are what work waits for. An HPA that looks in
// between finds the record missing and its target no longer at rest, of which the
// adapter makes the same answer, which the HPA from then on has among its own
// recommendations: a status that was not told of a rise, whatever keeps it, lets no
// HPA stop what was started. Whoever leads next finds the same, see inherit. A write
// that failed may have been carried out, so that it is recorded, too, until the target
// is found at rest.
func (l *Loop) act(
	ctx context.Context, so *v1alpha1.ScaledObject, m *memory, t target.Target,
	read []readings.Reading, d scaling.Decision, e scaling.Explanation,
) (wrote bool, err error) {
	if d.Write == nil {
		if e.Replicas != nil && scaling.AtRest(so, *e.Replicas) {
			m.rise = nil
			l.Status.Rose(so, nil)
		}
		return false, nil
	}
	ctx, span := l.trace(ctx, so, read, e)
	err = l.Targets.Scale(ctx, t, *d.Write)
	span.done(err)
	if apierrors.IsConflict(err) {
		return false, err
	}
	m.rise = d.Activation
	l.Status.Rose(so, d.Activation)
	if err == nil {
		m.wroteFrom, m.wrote = t.ResourceVersion, *d.Write
		m.announce = d.Scaled
		l.scaled(ctx, m, t, e)
		l.woke(so, m, t, read, e)
	}
	if event := d.ScaleFailed; err != nil && event != nil {
		failed := *event
		failed.Note += ": " + err.Error()
		l.Status.Announce(so, failed)
	}
	return err == nil, err
}

// told is when the next decision about an object comes whose replicas were
// written, which tells of it: at once, but after all that wait now. In a rush
// replicas of some object are what every request is for, and not words.
func told(wrote bool) time.Duration {
	if wrote {
		return time.Nanosecond
	}
	return 0
}

// announce emits the event about the last write of replicas, once.
func (l *Loop) announce(so *v1alpha1.ScaledObject, m *memory) {
	if event := m.announce; event != nil {
		m.announce = nil
		l.Status.Announce(so, *event)
	}
}

// hpaActive mirrors the condition ScalingActive of the object's HPA, nil while
// there is none to mirror.
func (l *Loop) hpaActive(ctx context.Context, so *v1alpha1.ScaledObject) *v1alpha1.Condition {
	if so.Status.HpaName == "" {
		return nil
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if l.Client.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: so.Status.HpaName}, hpa) != nil {
		return nil
	}
	for _, c := range hpa.Status.Conditions {
		if c.Type == autoscalingv2.ScalingActive {
			return mirror(c)
		}
	}
	return nil
}

func mirror(c autoscalingv2.HorizontalPodAutoscalerCondition) *v1alpha1.Condition {
	m := &v1alpha1.Condition{Type: v1alpha1.ConditionHPAActive, Status: metav1.ConditionTrue, Message: c.Message}
	switch {
	case c.Status == corev1.ConditionTrue:
		m.Reason, m.Message = v1alpha1.ReasonHPAActive, "the HPA is scaling"
	case c.Reason == v1alpha1.ReasonScalingDisabled:
		m.Reason = v1alpha1.ReasonScalingDisabled
	default:
		m.Status, m.Reason = metav1.ConditionFalse, c.Reason
		if m.Reason == "" {
			m.Reason = v1alpha1.ReasonHPAMetricsUnavailable
		}
	}
	return m
}

// began is when this process began to decide.
func (l *Loop) began() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started.IsZero() {
		l.started = l.Now()
	}
	return l.started
}
