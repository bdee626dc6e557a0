package activation

import (
	"context"
	"errors"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/hpa"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// afterConflict is when a nudge is tried again for an HPA that had changed, and
// afterRefusal for one that could not be changed: whoever forbids it does not in
// other namespaces.
const (
	afterConflict = 100 * time.Millisecond
	afterRefusal  = 10 * time.Minute
)

// nudged is what an HPA was made to look for, none once it has nothing to add.
type nudged struct {
	wants int32
	at    time.Time
	// until is when the HPA may be changed again after that was refused.
	until time.Time
}

// nudge has the HPA of an object look at its metrics at once where it would add
// replicas by what was read. It changes what means nothing of the HPA's spec:
// replicas stay the HPA's to write. It returns when to try again, 0 for not by
// itself: the HPA looks in any case, a little later.
func (l *Loop) nudge(
	ctx context.Context, so *v1alpha1.ScaledObject, m *memory, t target.Target, read []readings.Reading, d scaling.Decision,
) time.Duration {
	wanted, _ := so.NudgesHPA() // what is no value of it is a warning
	if !wanted || so.Status.HpaName == "" || d.Write != nil || m.replicas(t) < 1 {
		m.nudged.wants = 0
		return 0
	}
	live := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := l.Client.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: so.Status.HpaName}, live); err != nil {
		return 0 // the reconciler makes it, and says why it does not
	}
	if owner := metav1.GetControllerOf(live); owner == nil || owner.UID != so.UID {
		return 0 // whatever the status says, it is somebody else's
	}
	now := l.Now()
	judged := l.effect.judge(live, now)
	if now.Before(m.nudged.until) || !hpa.LooksAtOnce(live) || kept.Why(live) != "" || live.DeletionTimestamp != nil {
		return judged
	}
	n := hpa.Nudge{
		HPA: hpa.Of(live.Spec), Target: m.scale(t), Read: m.told(so, read, d),
		Status: live.Status, Asked: m.nudged.wants, At: m.nudged.at,
	}
	if ceiling, held := scaling.Ceiling(m.risen(so), now); held {
		n.HPA.Max = min(n.HPA.Max, ceiling)
	}
	wants, due, wait := n.Due(now)
	if wants == 0 {
		m.nudged.wants = 0
	}
	if !due || hpa.AboutToLook(live) {
		return sooner(judged, wait)
	}
	because := newest(read)
	if scaling.Nudged(live.Spec.Metrics) == scaling.NudgeOf(because) {
		because = because.Add(-time.Millisecond) // the same value again would change nothing
	}
	metrics, some := scaling.Nudge(live.Spec.Metrics, scaling.NudgeOf(because))
	if !some {
		return judged
	}
	if ok, wait := l.effect.tries(live, now); !ok {
		return sooner(judged, wait)
	}
	changed := live.DeepCopy()
	changed.Spec.Metrics = metrics
	switch err := l.Client.Update(ctx, changed); {
	case err == nil:
		m.nudged = nudged{wants: wants, at: now}
		if l.Figures != nil {
			l.Figures.Nudged()
		}
		return l.effect.wrote(live, changed.Generation, now)
	case apierrors.IsConflict(err): // it changed since it was read
		l.effect.drop(live)
		return afterConflict
	default:
		l.effect.drop(live)
		m.nudged.at = now
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			m.nudged.until = now.Add(afterRefusal)
		}
		if client.IgnoreNotFound(err) != nil {
			log.FromContext(ctx).Error(err, "the HPA is not made to look at once")
		}
		return 0
	}
}

// risen is the object with the record of the last rise, of which the cache may show
// less.
func (m *memory) risen(so *v1alpha1.ScaledObject) *v1alpha1.ScaledObject {
	if m.rise == nil {
		return so
	}
	known := *so
	known.Status.Activation = m.rise
	return &known
}

// scale is the target as the HPA counts it. Where nobody knows its Pods they are
// taken for as many as there should be, and none of them for ready.
func (m *memory) scale(t target.Target) hpa.Scale {
	s := hpa.Scale{Replicas: m.replicas(t), Pods: m.replicas(t)}
	if pods, known := t.Pods(); known {
		s.Pods = pods
	}
	s.Ready, _ = t.Ready()
	return s
}

var errNotKnown = errors.New("has no value")

// told is what the metrics adapter would answer by the readings that a decision was
// made of, as far as those are values: a fallback is for no hurry. An HPA that still
// has another target than was read is about to be changed: a value of the one beside
// the other is another demand.
func (m *memory) told(so *v1alpha1.ScaledObject, read []readings.Reading, d scaling.Decision) func(autoscalingv2.MetricSpec) (resource.Quantity, error) {
	values, targets, whole := map[string]float64{}, map[string]float64{}, true
	for _, r := range read {
		v := d.Verdicts[r.Index]
		if v.Outcome != scaling.Value || v.Fallback {
			whole = false
			continue
		}
		for _, metric := range r.Metrics {
			values[metric.Name], targets[metric.Name] = metric.Value, metric.Target
		}
	}
	if so.Modifiers() != nil {
		clear(values)
		clear(targets)
		if whole && m.formula.compiled != nil {
			value, standIn, err := scaling.Composite(so, m.formula.compiled, readings.Triggers(read), nil)
			if standIn == nil && err == nil {
				values[scaling.CompositeMetric] = value
			}
		}
	}
	return func(spec autoscalingv2.MetricSpec) (resource.Quantity, error) {
		if spec.External == nil {
			return resource.Quantity{}, errNotKnown
		}
		value, ok := values[spec.External.Metric.Name]
		if !ok || value != value { // NaN
			return resource.Quantity{}, errNotKnown
		}
		if target := targets[spec.External.Metric.Name]; target > 0 && !hasTarget(spec.External.Target, scaling.Quantity(target)) {
			return resource.Quantity{}, errNotKnown
		}
		return scaling.Quantity(value), nil
	}
}

func hasTarget(t autoscalingv2.MetricTarget, quantity resource.Quantity) bool {
	return t.Value != nil && t.Value.Cmp(quantity) == 0 || t.AverageValue != nil && t.AverageValue.Cmp(quantity) == 0
}

// newest is when the newest of readings was made.
func newest(read []readings.Reading) (at time.Time) {
	for _, r := range read {
		if r.ObservedAt.After(at) {
			at = r.ObservedAt
		}
	}
	return at
}
