package scaling

import (
	"errors"
	"math"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// FallbackOf returns the fallback in force for an object, nil when there is
// none or it cannot work: negative numbers, a computed metric without a usable
// target, or a behaviour that needs a formula where there is none.
//
// Any positive target will do.
func FallbackOf(so *v1alpha1.ScaledObject) *v1alpha1.Fallback {
	f := so.Fallback()
	if f == nil || f.FailureThreshold < 0 || f.Replicas < 0 {
		return nil
	}
	m := so.Modifiers()
	if m == nil {
		if f.Behavior == v1alpha1.FallbackScalingModifiers {
			return nil
		}
		return f
	}
	if _, err := m.TargetValue(); err != nil {
		return nil
	}
	return f
}

// FallbackReplicas is the number of replicas a fallback comes to while the
// target has current ones. For behaviour scalingModifiers it is what a formula
// without a result comes to.
func FallbackReplicas(f *v1alpha1.Fallback, current int32) int32 {
	switch f.Behavior {
	case v1alpha1.FallbackCurrentReplicas:
		return current
	case v1alpha1.FallbackCurrentReplicasIfHigher:
		return max(current, f.Replicas)
	case v1alpha1.FallbackCurrentReplicasIfLower:
		return min(current, f.Replicas)
	case v1alpha1.FallbackStatic, v1alpha1.FallbackScalingModifiers:
	}
	return f.Replicas
}

// FallbackValue is what a metric must read for the HPA to ask for replicas.
// ready counts the target's ready pods and matters for type Value alone, where
// the HPA multiplies by them: with none there is no such value, an error, and a
// thousandth too much would come to one replica more.
func FallbackValue(target float64, kind autoscalingv2.MetricTargetType, replicas, ready int32) (float64, error) {
	whole := asTold(target) * float64(replicas)
	if kind != autoscalingv2.ValueMetricType {
		return whole, nil
	}
	if ready <= 0 {
		return 0, errors.New("fallback: no pod of the scale target is ready")
	}
	each, of := math.Floor(thousandths(whole)/float64(ready)), thousandths(target)
	if each/of*float64(ready) > float64(replicas) {
		each-- // as the HPA computes: binary fractions may round up, too
	}
	return max(each, 0) / 1000, nil
}
