package shadow

import (
	"context"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// object brings what is known of a ScaledObject up to date.
func (s *Shadow) object(ctx context.Context, so *v1alpha1.ScaledObject, hpa *autoscalingv2.HorizontalPodAutoscaler, e *entry) {
	now := s.Now()
	if e.uid != string(so.UID) {
		e.anew(string(so.UID))
	}
	o := &e.next
	o.Patience = patience(so.PollingInterval())
	o.Theirs, o.TheirReady = conditions(so.Status.Conditions)
	o.Paused, o.Problem = so.Paused(), ""
	if err := so.Validate(); err != nil && !o.Paused {
		o.Problem = equivalence.Shorten(err.Error())
		o.Triggers, o.Metrics, o.Would, o.HPA = nil, nil, nil, nil
		return
	}
	replicas, err := s.replicas(ctx, so, e, now)
	d, why, ok := e.object.Decide(so, replicas, err, s.States, now)
	if !ok {
		return // the cache is about to show what the triggers are of
	}
	o.Replicas, o.Would, o.Active = replicas, d.Write, ""
	if d.Active != nil {
		o.Active = string(d.Active.Status)
	}
	o.Decision = equivalence.Shorten(why.String())
	o.HPA = hpaOf(so, hpa)
	o.Triggers, o.Metrics, o.Wants = nil, nil, nil
	if !o.Paused {
		s.read(so, hpa, why, d, e, now)
	}
	e.acted(now, replicas, d.Write, func(n int32) bool { return scaling.AtRest(so, n) })
}

// anew forgets an object whose name another one has.
func (e *entry) anew(uid string) {
	e.uid, e.windows, e.replicas, e.target = uid, nil, nil, read{}
	e.next = equivalence.Object{Kind: e.next.Kind, Namespace: e.next.Namespace, Name: e.next.Name}
}

// patience is how long, in seconds, who polls may take to do the same.
func patience(interval time.Duration) int32 {
	return int32(min((2*interval + 15*time.Second).Seconds(), math.MaxInt32))
}

func conditions(c v1alpha1.Conditions) (active, ready string) {
	a, _ := c.Get(v1alpha1.ConditionActive)
	r, _ := c.Get(v1alpha1.ConditionReady)
	return string(a.Status), string(r.Status)
}

// replicas are those of the target. What no cache has is read now and then.
func (s *Shadow) replicas(ctx context.Context, so *v1alpha1.ScaledObject, e *entry, now time.Time) (*int32, error) {
	before := e.target
	if before.at.IsZero() || before.err == nil && !before.unwatched || now.Sub(before.at) >= readAgain {
		t, err := s.Targets.Get(ctx, so)
		if ctx.Err() == nil || err == nil {
			e.target = read{t.Replicas, t.Unwatched, err, now}
		}
	}
	if e.target.err != nil || e.target.at.IsZero() {
		return nil, e.target.err
	}
	n := e.target.replicas
	return &n, nil
}

// read fills in what was read, beside what the HPA was told.
func (s *Shadow) read(
	so *v1alpha1.ScaledObject, hpa *autoscalingv2.HorizontalPodAutoscaler, why scaling.Explanation, d scaling.Decision, e *entry, now time.Time,
) {
	o := &e.next
	composite := so.Modifiers() != nil && !so.OnlyBuiltins()
	for i, spec := range so.Spec.Triggers {
		if i < len(d.Verdicts) && !spec.Builtin() {
			of := federation.ID{Kind: scalerv1.KindScaledObject, Namespace: so.Namespace, Name: so.Name, Index: i}
			o.Triggers = append(o.Triggers, s.trigger(of, spec.Type, so.TriggerProblem(i), d.Verdicts[i]))
		}
	}
	length := 15 * time.Second
	for _, spec := range so.Spec.Triggers {
		if spec.UseCachedMetrics {
			length = max(length, so.PollingInterval())
		}
	}
	for _, m := range why.Metrics {
		if i, _, ok := scaling.SplitMetricName(m.Name); ok && i < len(so.Spec.Triggers) {
			kind, target := string(so.Spec.Triggers[i].TargetType()), m.Target
			if composite {
				kind, target = "", 0 // the formula's
			}
			e.metric(equivalence.Metric{Name: m.Name, Value: m.Value, Target: target, Kind: kind, Active: m.Active}, hpa, now, length)
		}
		if m.Asks != nil {
			n := min(max(*m.Asks, so.HPAMinReplicas()), so.MaxReplicas())
			if o.Wants == nil || n > *o.Wants {
				o.Wants = &n
			}
		}
	}
	if composite {
		m := so.Modifiers()
		target, _ := m.TargetValue() // a bad one is a problem of the object's
		one := equivalence.Metric{Name: scaling.CompositeMetric, Target: target, Kind: string(m.TargetType())}
		if why.Formula != nil {
			one.Value, one.Active = &why.Formula.Value, why.Formula.Active
		}
		e.metric(one, hpa, now, length)
	}
	e.forgetWindows()
}

// trigger is what became of reading one.
func (s *Shadow) trigger(of federation.ID, kind string, problem error, v scaling.Verdict) equivalence.Trigger {
	t := equivalence.Trigger{Index: of.Index, Type: equivalence.Shorten(kind), Outcome: v.Outcome.String()}
	if v.Outcome != scaling.Failed {
		return t
	}
	if v.Err != nil {
		t.Error = equivalence.Shorten(v.Err.Error())
	}
	state, _ := s.States(of)
	t.Fault = fault(problem, state)
	return t
}

// fault is what kind of thing is wrong with a trigger that fails.
func fault(problem error, state federation.State) equivalence.Reason {
	refused := func(err error) bool {
		code := status.Code(err)
		return code == codes.InvalidArgument || code == codes.Unimplemented
	}
	switch {
	case problem != nil:
		return equivalence.Refused
	case state.Rejected != nil && granted(state.Rejected):
		return equivalence.MissingGrant
	case state.Rejected != nil:
		return equivalence.Refused
	case state.Unreachable != nil && refused(state.Unreachable):
		return equivalence.Refused
	case state.Unreachable != nil:
		return equivalence.MissingFamily
	case state.Err != nil && granted(state.Err):
		return equivalence.MissingGrant
	}
	return equivalence.Source
}

// granted reports whether an error says what would have to be granted to the
// family: a source refuses in words of its own.
func granted(err error) bool {
	return status.Code(err) == codes.PermissionDenied && strings.Contains(err.Error(), "to grant it")
}

// metric adds one metric, beside what the HPA was told of it.
func (e *entry) metric(m equivalence.Metric, hpa *autoscalingv2.HorizontalPodAutoscaler, now time.Time, length time.Duration) {
	if len(e.next.Metrics) >= mostMetrics {
		return
	}
	if m.Value != nil {
		w := e.windows[m.Name]
		if w == nil {
			if e.windows == nil {
				e.windows = map[string]*window{}
			}
			w = &window{}
			e.windows[m.Name] = w
		}
		// As an HPA would be told it.
		q := scaling.Quantity(*m.Value)
		w.add(q.AsApproximateFloat64(), now, length)
		low, high := w.limits()
		m.Lowest, m.Highest = &low, &high
	}
	m.Theirs = reported(hpa, m.Name)
	e.next.Metrics = append(e.next.Metrics, m)
}

// forgetWindows drops those of metrics that are no more.
func (e *entry) forgetWindows() {
	if len(e.windows) <= len(e.next.Metrics) {
		return
	}
	current := map[string]bool{}
	for _, m := range e.next.Metrics {
		current[m.Name] = true
	}
	for name := range e.windows {
		if !current[name] {
			delete(e.windows, name)
		}
	}
}

// reported is what an HPA says that it was told of a metric, nil for nothing. An
// average is one for the replicas that there were, rounded up to thousandths.
func reported(hpa *autoscalingv2.HorizontalPodAutoscaler, name string) *equivalence.Reported {
	if hpa == nil {
		return nil
	}
	for _, m := range hpa.Status.CurrentMetrics {
		switch {
		case m.External == nil || m.External.Metric.Name != name:
		case m.External.Current.AverageValue != nil:
			n := float64(hpa.Status.CurrentReplicas)
			return &equivalence.Reported{Value: number(m.External.Current.AverageValue) * n, Slack: n / 1000}
		case m.External.Current.Value != nil:
			return &equivalence.Reported{Value: number(m.External.Current.Value)}
		}
	}
	return nil
}

func number(q *resource.Quantity) float64 { return q.AsApproximateFloat64() }

// hpaOf is what an HPA says, and what of it would be otherwise.
func hpaOf(so *v1alpha1.ScaledObject, hpa *autoscalingv2.HorizontalPodAutoscaler) *equivalence.HPA {
	if hpa == nil {
		return nil
	}
	told := &equivalence.HPA{Min: 1, Max: hpa.Spec.MaxReplicas, Current: hpa.Status.CurrentReplicas, Desired: hpa.Status.DesiredReplicas}
	if hpa.Spec.MinReplicas != nil {
		told.Min = *hpa.Spec.MinReplicas
	}
	if n := so.HPAMinReplicas(); n != told.Min {
		told.OtherMin, told.OtherMax = n, so.MaxReplicas()
	}
	if n := so.MaxReplicas(); n != told.Max {
		told.OtherMin, told.OtherMax = so.HPAMinReplicas(), n
	}
	for _, m := range hpa.Spec.Metrics {
		if m.External == nil || len(told.Asks) == mostMetrics {
			continue
		}
		one := equivalence.Asked{Name: m.External.Metric.Name, Kind: string(m.External.Target.Type)}
		switch t := m.External.Target; {
		case t.AverageValue != nil:
			one.Target = number(t.AverageValue)
		case t.Value != nil:
			one.Target = number(t.Value)
		}
		told.Asks = append(told.Asks, one)
	}
	return told
}
