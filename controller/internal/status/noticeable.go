package status

import (
	"k8s.io/utils/ptr"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// noticeable reports whether a user would notice the change between two states.
//
// Some things move all the time and are noticed only now and then: the last
// active time when it moved by its write period, the count of failures as long
// as fallback waits for it, mere words, which may name a port or a moment, when
// words is set, and the first mirror of the HPA's state when mirror is.
func noticeable(base, next *v1alpha1.ScaledObject, words, mirror bool) bool {
	a, b := base.Status.DeepCopy(), next.Status.DeepCopy()
	if !lastActiveDue(base, next) {
		a.LastActiveTime, b.LastActiveTime = nil, nil
	}
	threshold := int32(0)
	if fallback := scaling.FallbackOf(next); fallback != nil {
		threshold = fallback.FailureThreshold
	}
	_, mirrored := a.Conditions.Get(v1alpha1.ConditionHPAActive)
	for _, s := range []*v1alpha1.ScaledObjectStatus{a, b} {
		capFailures(s, threshold)
		if !words {
			dropMessages(s)
		}
		if !mirror && !mirrored {
			s.Conditions.Remove(v1alpha1.ConditionHPAActive)
		}
	}
	return !apiequality.Semantic.DeepEqual(a, b)
}

func lastActiveDue(base, next *v1alpha1.ScaledObject) bool {
	stored, now := base.Status.LastActiveTime, next.Status.LastActiveTime
	switch {
	case now == nil:
		return false
	case stored == nil:
		return true
	case base.Status.Conditions.IsTrue(v1alpha1.ConditionActive) != next.Status.Conditions.IsTrue(v1alpha1.ConditionActive):
		return true
	}
	return now.Sub(stored.Time) >= WritePeriod(next)
}

// capFailures makes all counts above the threshold the same: they change
// nothing any more.
func capFailures(s *v1alpha1.ScaledObjectStatus, threshold int32) {
	for metric, health := range s.Health {
		if n := health.NumberOfFailures; n != nil && *n > threshold {
			health.NumberOfFailures = ptr.To(threshold + 1)
			s.Health[metric] = health
		}
	}
}

func dropMessages(s *v1alpha1.ScaledObjectStatus) {
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
}
