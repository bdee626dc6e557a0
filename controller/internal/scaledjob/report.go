package scaledjob

import (
	"cmp"
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning

	// pace is the shortest time between two writes of numbers and words that
	// change while Jobs come and go. A changed condition is written at once.
	pace = 2 * time.Second
	// recheck is how often an object is looked at again whose problem may end
	// without an event.
	recheck = time.Minute
	// readAgain is how often one is read again that there was no room for, where
	// there may be by now.
	readAgain = 5 * time.Minute
)

// outcome is what a reconcile came to.
type outcome struct {
	// err is why the object is not ready, nil when it is.
	err    error
	paused bool
	// decision is nil when there was none.
	decision *scaling.JobsDecision
	created  int
	// warnings are what is odd about the object and keeps it from nothing.
	warnings []string
	// more is true when there is more to clean up at once, underWay when there
	// are more Jobs to create, soon when err may be over shortly.
	more, underWay, soon bool
}

// report writes what changed and says when to come back.
func (r *Reconciler) report(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, found outcome) (reconcile.Result, error) {
	wait, err := r.write(ctx, sj, m, found)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.warn(sj, m, found.warnings)
	switch {
	case found.more:
		return reconcile.Result{RequeueAfter: time.Millisecond}, nil
	case found.underWay && m.refused == nil:
		return reconcile.Result{RequeueAfter: max(m.round.again, nextSlice)}, nil
	case found.soon:
		wait = pace
	case found.err != nil && wait == 0:
		wait = recheck
	}
	var at time.Time
	if wait > 0 {
		at = r.Now().Add(wait)
	}
	if found.decision != nil {
		at = earlier(at, found.decision.Next)
	}
	at = earlier(at, m.retry)
	if at.IsZero() {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: max(at.Sub(r.Now()), time.Millisecond)}, nil
}

// earlier is the earlier of two moments; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// write brings the status up to date. wait is how long something waits to be
// written, 0 when nothing does.
func (r *Reconciler) write(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, found outcome) (wait time.Duration, err error) {
	base := status.Newest(sj, &m.written)
	next := base.DeepCopy()
	next.Status.Conditions.Initialize()
	now := r.Now()
	found.apply(next, m, now)
	if m.incomplete(found, now) {
		return m.seen.Add(status.FirstState).Sub(now), nil
	}
	if !noticeable(base, next) {
		return 0, nil
	}
	if left := m.wroteAt.Add(pace).Sub(now); left > 0 && !urgent(base, next) {
		return left, nil
	}
	written := next.DeepCopy()
	err = r.Client.Status().Patch(ctx, written, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		// What was written is no longer the newest: trust the cache again.
		m.written = nil
		if apierrors.IsConflict(err) {
			return pace, nil // the Jobs are taken care of, and the cache will show what somebody else wrote
		}
		return 0, client.IgnoreNotFound(err)
	}
	// The answer has all of an object of which the cache may hold little.
	written.Labels, written.Annotations, written.Spec = base.Labels, base.Annotations, base.Spec
	written.ManagedFields = nil
	m.written, m.wroteAt = written, now
	r.announce(base, written)
	return 0, nil
}

// incomplete reports whether the first readings are still to come, and there is
// time to wait for them: a missing answer is no news yet.
func (m *memory) incomplete(found outcome, now time.Time) bool {
	d := found.decision
	return d != nil && now.Sub(m.seen) < status.FirstState && found.created == 0 && m.refused == nil &&
		(d.Active == nil || d.Ready.Status != metav1.ConditionTrue)
}

// apply puts an outcome into a status.
func (o outcome) apply(sj *v1alpha1.ScaledJob, m *memory, now time.Time) {
	s := &sj.Status
	s.TriggersTypes, s.AuthenticationsTypes = sj.TriggersTypes(), sj.AuthenticationsTypes()
	o.applyPause(&s.Conditions)
	if d := o.decision; d != nil {
		s.TriggersActivity, s.Health = d.Activity, d.Health
		if len(d.Metrics) > 0 {
			s.ExternalMetricNames = d.Metrics
		}
		if !d.LastActive.IsZero() {
			at := metav1.NewTime(d.LastActive.Truncate(time.Second))
			s.LastActiveTime = &at
		}
		jobs := d.Arithmetic
		jobs.Running += int32(o.created)
		if sj.CountsPending() {
			jobs.Pending += int32(o.created)
		}
		jobs.Created, jobs.Sequence = m.created, m.checkpoint(now)
		s.Jobs = &jobs
		s.Conditions.Set(d.Fallback)
		if d.Active != nil {
			s.Conditions.Set(*d.Active)
		}
	}
	s.Conditions.Set(o.ready(m))
	if o.err != nil {
		s.Conditions.Set(v1alpha1.Condition{
			Type: v1alpha1.ConditionActive, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonUnknownState,
			Message: "see condition Ready",
		})
	}
}

// ready is the worst of what there is to say.
func (o outcome) ready(m *memory) v1alpha1.Condition {
	ready := v1alpha1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonScaledJobReady, Message: sentences[v1alpha1.ReasonScaledJobReady],
	}
	switch {
	case o.err != nil:
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonScaledJobCheckFailed
		ready.Message = status.Sentence(o.err)
	case o.paused:
		ready.Message = "ScaledJob is paused"
	case m.refused != nil:
		ready.Status, ready.Reason = metav1.ConditionFalse, scaling.EventJobCreateFailed
		ready.Message = "Job not created: " + status.Sentence(m.refused)
	case o.decision.Ready.Status != metav1.ConditionTrue:
		ready = o.decision.Ready
	default:
		ready.Message = strings.Join(append(m.said(ready.Message), o.warnings...), "; ")
	}
	return ready
}

// said is what condition Ready says of an object that is well.
func (m *memory) said(well string) []string {
	if m.round != nil {
		return []string{well, m.round.String()}
	}
	return []string{well}
}

func (o outcome) applyPause(conditions *v1alpha1.Conditions) {
	switch {
	case o.paused:
		conditions.Set(v1alpha1.Condition{
			Type: v1alpha1.ConditionPaused, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonScaledJobPaused, Message: "no Jobs are started",
		})
	case conditions.IsTrue(v1alpha1.ConditionPaused):
		conditions.Set(v1alpha1.Condition{
			Type: v1alpha1.ConditionPaused, Status: metav1.ConditionFalse,
			Reason: v1alpha1.ReasonScaledJobUnpaused, Message: "Jobs are started again",
		})
	}
}

// noticeable reports whether a user would notice the change between two states:
// all but a last active time that moved by less than a minute, and the sequence
// number alone.
func noticeable(base, next *v1alpha1.ScaledJob) bool {
	a, b := base.Status.DeepCopy(), next.Status.DeepCopy()
	if a.LastActiveTime != nil && b.LastActiveTime != nil && b.LastActiveTime.Sub(a.LastActiveTime.Time) < time.Minute {
		a.LastActiveTime, b.LastActiveTime = nil, nil
	}
	if a.Jobs != nil && b.Jobs != nil {
		a.Jobs.Sequence = b.Jobs.Sequence
	}
	return !apiequality.Semantic.DeepEqual(a, b)
}

// urgent reports whether a condition changed by more than its words.
func urgent(base, next *v1alpha1.ScaledJob) bool {
	for _, now := range next.Status.Conditions {
		was, _ := base.Status.Conditions.Get(now.Type)
		if was.Status != now.Status || was.Reason != now.Reason {
			return true
		}
	}
	return false
}

// announce emits the events of the transitions between two states.
func (r *Reconciler) announce(before, after *v1alpha1.ScaledJob) {
	for _, now := range after.Status.Conditions {
		was, _ := before.Status.Conditions.Get(now.Type)
		if was.Status == now.Status && was.Reason == now.Reason {
			continue
		}
		if reason, kind, action := transition(was, now); reason != "" {
			status.Emit(r.Events, after, kind, reason, action, cmp.Or(now.Message, sentences[reason]))
		}
	}
	if now := watching(after); now != watching(before) {
		r.announceWatch(before, now)
	}
}

// watching are the types of the triggers that are watched: from the first
// answer of a family on, and not while the object is paused.
func watching(sj *v1alpha1.ScaledJob) string {
	if len(sj.Status.ExternalMetricNames) == 0 || sj.Status.Conditions.IsTrue(v1alpha1.ConditionPaused) {
		return ""
	}
	return sj.Status.TriggersTypes
}

// announceWatch says which types of triggers are watched now, "" for none.
func (r *Reconciler) announceWatch(before *v1alpha1.ScaledJob, now string) {
	was := watching(before)
	switch {
	case now != "":
		status.Emit(r.Events, before, normal, "KEDAScalersStarted", "ScalersWatchStarted", "started watching "+now)
	case was != "":
		status.Emit(r.Events, before, normal, "KEDAScalersStopped", "ScalersWatchStopped", "stopped watching "+was)
	}
}

// warn tells of what an object's owner should look at, once per text.
func (r *Reconciler) warn(sj *v1alpha1.ScaledJob, m *memory, warnings []string) {
	now := strings.Join(warnings, "; ")
	if now != "" && now != m.warned {
		status.Emit(r.Events, sj, normal, "KEDAScalerInfo", "CheckTriggers", now)
	}
	m.warned = now
}

// sentences are what events say whose conditions need no words.
var sentences = map[string]string{
	v1alpha1.ReasonScaledJobReady: "ScaledJob is ready for scaling",
	"ScaledJobActive":             "at least one trigger is active",
	"ScaledJobInactive":           "no trigger is active",
}

// transition is the event of a changed condition, if there is one.
func transition(was, now v1alpha1.Condition) (reason, kind, action string) {
	isTrue, wasTrue := now.Status == metav1.ConditionTrue, was.Status == metav1.ConditionTrue
	switch now.Type {
	case v1alpha1.ConditionReady:
		switch {
		case isTrue:
			return v1alpha1.ReasonScaledJobReady, normal, "Ready"
		case now.Reason == v1alpha1.ReasonScaledJobCheckFailed:
			return v1alpha1.ReasonScaledJobCheckFailed, warning, "Check"
		case now.Reason == v1alpha1.ReasonTriggerError || now.Reason == v1alpha1.ReasonPartialTriggerError:
			return "KEDAScalerFailed", warning, "Check"
		}
	case v1alpha1.ConditionPaused:
		switch {
		case isTrue:
			return v1alpha1.ReasonScaledJobPaused, normal, "Pause"
		case wasTrue:
			return v1alpha1.ReasonScaledJobUnpaused, normal, "Unpause"
		}
	case v1alpha1.ConditionActive:
		switch {
		case isTrue && !wasTrue:
			return "ScaledJobActive", normal, "Activate"
		case wasTrue && now.Status == metav1.ConditionFalse:
			return "ScaledJobInactive", normal, "Deactivate"
		}
	case v1alpha1.ConditionFallback, v1alpha1.ConditionHPAActive:
		// A failing trigger has its event.
	}
	return "", "", ""
}
