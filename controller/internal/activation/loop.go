// Package activation turns observations into writes of 0 or idle to N and of N
// to 0 or idle. Everything between is the HPA's.
package activation

import (
	"context"
	"maps"
	"math"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// ReadDeadline is how long a family may take for one read; it is part of how
// long an observation holds.
const ReadDeadline = 10 * time.Second

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
	Now    func() time.Time

	mu      sync.Mutex
	started time.Time
	objects map[types.NamespacedName]*memory
}

// Errors counts failures for the operator of the installation.
type Errors interface {
	// Failed counts n more failures of a metric of a trigger; n may be 0.
	Failed(so *v1alpha1.ScaledObject, trigger int, metric string, n int32)
	// Forget drops what was counted for an object.
	Forget(namespace, name string)
}

// memory is what a decision leaves for the next one. Calls for one object
// never run at once.
type memory struct {
	uid        types.UID
	lastActive time.Time
	failures   map[int]scaling.Failures
	firstSeen  map[int]time.Time

	// heard counts how often a trigger turned active; acted is what of that
	// was carried out. A pulse counts until it was.
	heard, acted map[int]uint64

	// generation is the one that triggers and formula are of, 0 for none yet.
	generation int64
	triggers   []v1alpha1.ScaleTrigger
	formula    *scaling.Formula

	// wroteFrom is the target's resource version before our last write, and
	// wrote what was written. The cache may show the old one for a while.
	wroteFrom string
	wrote     int32
}

// Reconcile decides about one object and acts.
func (l *Loop) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	so := &v1alpha1.ScaledObject{}
	if err := l.Client.Get(ctx, request.NamespacedName, so); err != nil {
		l.forget(request.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if so.Paused() || !so.DeletionTimestamp.IsZero() || so.Validate() != nil {
		return reconcile.Result{}, nil
	}
	m := l.memory(so)
	t, err := l.Targets.Get(ctx, so)
	in := l.input(so, m, t, err)
	decision := scaling.Decide(in)
	l.count(so, m, in, decision)
	m.keep(decision)
	if err := l.act(ctx, so, m, t, decision); err != nil {
		return reconcile.Result{}, err
	}
	maps.Copy(m.acted, m.heard)
	observed := status.Observed{Decision: decision, HPAActive: l.hpaActive(ctx, so)}
	if err := l.Status.Observed(ctx, so, observed); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: l.until(decision.Next)}, nil
}

// count tells of failures that the decision added.
func (l *Loop) count(so *v1alpha1.ScaledObject, m *memory, in scaling.Input, d scaling.Decision) {
	for _, t := range in.Triggers {
		if t.Index >= len(d.Verdicts) {
			continue
		}
		added := max(d.Verdicts[t.Index].Failures.Count-m.failures[t.Index].Count, 0)
		for _, metric := range t.Metrics {
			l.Errors.Failed(so, t.Index, metric.Name, added)
		}
	}
}

// until is the time from now to next, 0 for never.
func (l *Loop) until(next time.Time) time.Duration {
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(l.Now()), time.Millisecond)
}

// input is all that the decision looks at.
func (l *Loop) input(so *v1alpha1.ScaledObject, m *memory, t target.Target, targetErr error) scaling.Input {
	in := scaling.Input{
		Object: so, Now: l.Now(), ReplicasErr: targetErr,
		LastActive: m.lastActive, Formula: m.formula,
	}
	atRest := false
	if targetErr == nil {
		replicas := t.Replicas
		if t.ResourceVersion == m.wroteFrom {
			replicas = m.wrote
		}
		in.Replicas = &replicas
		atRest = scaling.AtRest(so, replicas)
	}
	for i, spec := range so.Spec.Triggers {
		if !spec.Builtin() {
			in.Triggers = append(in.Triggers, l.trigger(so, m, i, spec, atRest))
		}
	}
	return in
}

// trigger is what is known of one trigger.
func (l *Loop) trigger(so *v1alpha1.ScaledObject, m *memory, index int, spec v1alpha1.ScaleTrigger, atRest bool) scaling.Trigger {
	t := scaling.Trigger{
		Index:      index,
		Confirmed:  m.seen(index, l.Now()),
		StaleAfter: scaling.StaleAfter(scaling.SampleInterval(so, spec, atRest), ReadDeadline),
		Failures:   m.failures[index],
	}
	state, ok := l.States(federation.ID{Kind: "ScaledObject", Namespace: so.Namespace, Name: so.Name, Index: index})
	if !ok || state.Generation != so.Generation {
		return t
	}
	t.Metrics = metricsOf(state, index, spec)
	t.Pulse = m.pulsed(index, state.Activations)
	m.heard[index] = state.Activations
	switch {
	case state.Rejected != nil:
		t.Outcome, t.Err, t.Confirmed = scaling.Failed, state.Rejected, l.Now()
	case state.Unreachable != nil:
		t.Outcome, t.Err, t.Confirmed = scaling.Failed, state.Unreachable, l.Now()
	case state.Outcome == federation.OutcomeNone || state.HeardAt.Before(l.began()):
		// After taking over, one word of our own hearing comes first.
	case state.Err != nil:
		t.Outcome, t.Err, t.Confirmed = scaling.Failed, state.Err, state.HeardAt
	case len(state.Values) > 0:
		t.Outcome, t.Confirmed = scaling.Value, state.HeardAt
	default:
		t.Outcome, t.Confirmed = scaling.NoData, state.HeardAt
	}
	return t
}

func metricsOf(state federation.State, index int, spec v1alpha1.ScaleTrigger) []scaling.Metric {
	metrics := make([]scaling.Metric, 0, len(state.Specs))
	for _, s := range state.Specs {
		// A metric without a reading is unknown, not empty.
		m := scaling.Metric{Name: scaling.MetricName(index, s.Name), Target: s.Target, Type: spec.TargetType(), Value: math.NaN()}
		for _, v := range state.Values {
			if v.Metric == s.Name {
				m.Value, m.Active = v.Value, v.Active
			}
		}
		metrics = append(metrics, m)
	}
	return metrics
}

// act writes what the decision says. A conflict means that the target changed
// since it was read; its event brings the next decision.
func (l *Loop) act(ctx context.Context, so *v1alpha1.ScaledObject, m *memory, t target.Target, d scaling.Decision) error {
	if d.Write == nil {
		return nil
	}
	if d.Activation != nil {
		if err := l.Status.Activated(ctx, so, d.Activation); err != nil {
			return err
		}
	}
	err := l.Targets.Scale(ctx, t, *d.Write)
	if apierrors.IsConflict(err) {
		return err
	}
	if err == nil {
		m.wroteFrom, m.wrote = t.ResourceVersion, *d.Write
	}
	if event := d.Scaled; err == nil && event != nil {
		l.Status.Announce(so, *event)
	}
	if event := d.ScaleFailed; err != nil && event != nil {
		failed := *event
		failed.Note += ": " + err.Error()
		l.Status.Announce(so, failed)
	}
	return err
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
