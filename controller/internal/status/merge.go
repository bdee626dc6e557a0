package status

import (
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// apply puts into the status what the reconciler alone knows. retargeted is
// true when the object scales another workload than before.
func (f *Reconciled) apply(so *v1alpha1.ScaledObject, retargeted bool) {
	s := &so.Status
	s.TriggersTypes, s.AuthenticationsTypes = so.TriggersTypes(), so.AuthenticationsTypes()
	if f.HPA != nil {
		s.HpaName = *f.HPA
		if *f.HPA == "" { // nobody keeps the mirror of one that is gone
			s.Conditions.Remove(v1alpha1.ConditionHPAActive)
		}
	}
	s.PausedReplicaCount = f.PausedReplicas
	if f.Target != nil {
		another := retargeted || s.ScaleTargetGVKR != nil && *s.ScaleTargetGVKR != *f.Target
		if another || s.OriginalReplicaCount == nil {
			s.OriginalReplicaCount = f.Replicas
		}
		s.ScaleTargetGVKR, s.ScaleTargetKind = f.Target, f.Target.String()
	}
	if f.ExternalMetricNames != nil || f.ResourceMetricNames != nil {
		s.ExternalMetricNames, s.ResourceMetricNames = f.ExternalMetricNames, f.ResourceMetricNames
	}
	s.CompositeScalerName = ""
	if so.Modifiers() != nil {
		s.CompositeScalerName = scaling.CompositeMetric
	}
	f.applyPause(so)
	if scaling.FallbackOf(so) == nil {
		s.Fallback, s.Health = nil, nil
		s.Conditions.Set(v1alpha1.Condition{
			Type: v1alpha1.ConditionFallback, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoFallbackFound,
		})
	}
	if f.Err != nil {
		s.Conditions.Set(v1alpha1.Condition{
			Type: v1alpha1.ConditionActive, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonUnknownState,
			Message: "see condition Ready",
		})
	}
}

func (f *Reconciled) applyPause(so *v1alpha1.ScaledObject) {
	conditions := &so.Status.Conditions
	paused := v1alpha1.Condition{Type: v1alpha1.ConditionPaused, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonScaledObjectPaused}
	switch {
	case f.Paused:
		paused.Message = "scaling is paused"
	case so.ScaleInPaused() && so.ScaleOutPaused():
		paused.Message = "scaling in and out is paused"
	case so.ScaleInPaused():
		paused.Message = "scaling in is paused"
	case so.ScaleOutPaused():
		paused.Message = "scaling out is paused"
	case conditions.IsTrue(v1alpha1.ConditionPaused):
		paused = v1alpha1.Condition{
			Type: v1alpha1.ConditionPaused, Status: metav1.ConditionFalse,
			Reason: v1alpha1.ReasonScaledObjectUnpaused, Message: "scaling is no longer paused",
		}
	default:
		return
	}
	conditions.Set(paused)
}

// apply puts into the status what the activation loop alone knows.
func (o *Observed) apply(so *v1alpha1.ScaledObject) {
	s, d := &so.Status, o.Decision
	if !d.LastActive.IsZero() {
		at := metav1.NewTime(d.LastActive.Truncate(time.Second))
		s.LastActiveTime = &at
	}
	s.TriggersActivity, s.Health, s.Decisions = d.Activity, d.Health, o.Changes
	// Without a verdict on fallback, as while the replicas are unknown, the
	// last one stays in force.
	if d.Fallback != nil {
		s.Fallback = stored(d.Replaced)
	}
	for _, condition := range []*v1alpha1.Condition{d.Fallback, d.Active, o.HPAActive} {
		if condition != nil {
			s.Conditions.Set(*condition)
		}
	}
}

// same reports whether two verdicts say the same in a status: all that apply
// and merge look at.
func (o *Observed) same(other *Observed) bool {
	if o == nil || other == nil {
		return o == other
	}
	a, b := &o.Decision, &other.Decision
	return a.LastActive.Equal(b.LastActive) && a.Ready == b.Ready &&
		slices.EqualFunc(
			[]*v1alpha1.Condition{a.Fallback, a.Active, o.HPAActive}, []*v1alpha1.Condition{b.Fallback, b.Active, other.HPAActive},
			func(a, b *v1alpha1.Condition) bool { return a == b || a != nil && b != nil && *a == *b }) &&
		apiequality.Semantic.DeepEqual(a.Activity, b.Activity) && apiequality.Semantic.DeepEqual(a.Health, b.Health) &&
		apiequality.Semantic.DeepEqual(a.Replaced, b.Replaced) && apiequality.Semantic.DeepEqual(o.Changes, other.Changes)
}

// stored are verdicts as the API server keeps them, in whole seconds, so that
// what was written compares equal to what is written next.
func stored(verdicts []v1alpha1.FallbackVerdict) []v1alpha1.FallbackVerdict {
	kept := slices.Clone(verdicts)
	for i := range kept {
		kept[i].Since = metav1.NewTime(kept[i].Since.Truncate(time.Second))
	}
	return kept
}

// merge sets Ready to the worst of what reconciler and loop say, so that none
// overwrites another.
func (r *record) merge(so *v1alpha1.ScaledObject) {
	reconciled, observed := r.reconciled, r.observed
	ready := v1alpha1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonScaledObjectReady, Message: "ScaledObject is ready for scaling",
	}
	if reconciled.Paused {
		ready.Message = "ScaledObject is paused"
	} else if observed != nil && badness(observed.Decision.Ready) > badness(ready) {
		ready = observed.Decision.Ready
	}
	if r.unscaled != nil {
		ready = v1alpha1.Condition{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
			Reason: v1alpha1.ReasonScaleTargetNotScaled, Message: "replicas not written: " + Sentence(r.unscaled),
		}
	}
	if err := reconciled.Err; err != nil {
		failed := v1alpha1.Condition{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
			Reason: v1alpha1.ReasonScaledObjectCheckFailed, Message: Sentence(err),
		}
		if badness(failed) >= badness(ready) {
			ready = failed
		}
	}
	if len(reconciled.Warnings) > 0 {
		ready.Message += "; " + strings.Join(reconciled.Warnings, "; ")
	}
	so.Status.Conditions.Set(ready)
}

func badness(c v1alpha1.Condition) int {
	switch c.Status {
	case metav1.ConditionFalse:
		return 2
	case metav1.ConditionUnknown:
		return 1
	case metav1.ConditionTrue:
	}
	return 0
}

// Sentence is all of a joined error in one line.
func Sentence(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
