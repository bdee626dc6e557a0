package scaling

import (
	"math"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ActivationWindow is how long after a jump the metric is reported as at least
// what the jump went to: three default syncs of the HPA.
const ActivationWindow = 45 * time.Second

// ActivationValue is what the HPA is told for metric: value, and for a while
// after a jump at least the jump's replicas times target. The HPA then records
// the jump's number as its own recommendation, and the user's scale-down window
// applies from there; otherwise a backlog prefetched in seconds would let it
// stop busy pods at its first sync.
func ActivationValue(value, target float64, metric string, a *v1alpha1.Activation, now time.Time) float64 {
	if a == nil || a.Metric != metric {
		return value
	}
	if age := now.Sub(a.Time.Time); age <= -ActivationWindow || age >= ActivationWindow {
		return value
	}
	return max(value, asTold(target)*float64(a.Replicas))
}

// jump is the size to leave zero or idle replicas to: what the metrics ask for,
// limited as the HPA would limit a rise from max(min, 1) by explicit scaleUp
// policies. The record is nil when it is just that floor.
//
// A scale-up window, a formula and Value metrics leave the size to the HPA: the
// window wants to see more than one reading, a formula is evaluated per sync,
// and a Value target says nothing without running pods. Whoever wants KEDA's
// step gets it by annotation.
func jump(in Input, verdicts []Verdict) (int32, *v1alpha1.Activation) {
	so := in.Object
	floor := so.HPAMinReplicas()
	ceiling := min(so.MaxReplicas(), riseLimit(so, floor))
	byOne, _ := so.ActivatesByOne() // a bad annotation is a warning of the reconciler's
	if byOne || so.Modifiers() != nil || ceiling <= floor {
		return floor, nil
	}
	best, metric := floor, ""
	for i, t := range in.Triggers {
		if verdicts[i].Outcome != Value {
			continue
		}
		for _, m := range t.Metrics {
			if m.Type == autoscalingv2.ValueMetricType || !(m.Target > 0) || !usable(m.Value) {
				continue
			}
			if n := DesiredReplicas(m.Value, m.Target, floor, ceiling); n > best {
				best, metric = n, m.Name
			}
		}
	}
	if best == floor {
		return floor, nil
	}
	return best, &v1alpha1.Activation{Metric: metric, Replicas: best, Time: metav1.NewMicroTime(in.Now)}
}

// riseLimit is how high the HPA may go from n replicas in one step under the
// user's scaleUp rules. Its defaults, which no user wrote, are no limit: they
// are what the jump is there to spare.
//
// Source: the HPA's scaling policies,
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#scaling-policies
func riseLimit(so *v1alpha1.ScaledObject, n int32) int32 {
	behavior := so.HPABehavior()
	if behavior == nil || behavior.ScaleUp == nil {
		return math.MaxInt32
	}
	up := behavior.ScaleUp
	selects := autoscalingv2.MaxChangePolicySelect
	if up.SelectPolicy != nil {
		selects = *up.SelectPolicy
	}
	policies := up.Policies
	switch {
	case selects == autoscalingv2.DisabledPolicySelect,
		up.StabilizationWindowSeconds != nil && *up.StabilizationWindowSeconds > 0:
		return n
	case len(policies) == 0 && selects == autoscalingv2.MinChangePolicySelect:
		// Whoever asks for the smaller change without naming any means the
		// smaller of the HPA's defaults.
		policies = defaultScaleUp
	case len(policies) == 0:
		return math.MaxInt32
	}
	limit := rise(n, policies[0])
	for _, p := range policies[1:] {
		if selects == autoscalingv2.MinChangePolicySelect {
			limit = min(limit, rise(n, p))
		} else {
			limit = max(limit, rise(n, p))
		}
	}
	return limit
}

// defaultScaleUp is what the HPA does without policies: four pods or double per
// 15 s.
var defaultScaleUp = []autoscalingv2.HPAScalingPolicy{
	{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
	{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
}

func rise(n int32, p autoscalingv2.HPAScalingPolicy) int32 {
	to := float64(n) + float64(p.Value)
	if p.Type == autoscalingv2.PercentScalingPolicy {
		to = math.Ceil(float64(n) * (1 + float64(p.Value)/100))
	}
	return int32(min(to, math.MaxInt32))
}

// usable reports whether v can be a reading at all.
func usable(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }
