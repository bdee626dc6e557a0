package scaling

import (
	"math"
	"slices"
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
// limited by explicit scaleUp policies. The metric is the one that asks for it,
// "" when it is just max(min, 1).
//
// A scale-up window, a formula and Value metrics leave the size to the HPA: the
// window wants to see more than one reading, a formula is evaluated per sync,
// and a Value target says nothing without running pods. Whoever wants KEDA's
// step gets it by annotation.
func jump(in Input, verdicts []Verdict) (replicas int32, metric string) {
	so := in.Object
	floor := so.HPAMinReplicas()
	ceiling := min(so.MaxReplicas(), riseLimit(so))
	byOne, _ := so.ActivatesByOne() // a bad annotation is a warning of the reconciler's
	if byOne || so.Modifiers() != nil || ceiling <= floor {
		return floor, ""
	}
	best := floor
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
	return best, metric
}

// recordRise records a rise from rest: a jump, so that the HPA is told of its
// size, and one to which the user's policies apply, since the HPA counts only
// its own.
func (d *Decision) recordRise(in Input, metric string) {
	byOne, _ := in.Object.ActivatesByOne()
	if metric == "" && (byOne || len(policiesOf(in.Object).all) == 0) {
		return
	}
	d.Activation = &v1alpha1.Activation{Metric: metric, Replicas: *d.Write, Time: metav1.NewMicroTime(in.Now)}
}

// Unrecorded reports whether a target that is no longer at rest may have risen
// without a record of it in the status, which is written after the replicas: the
// status still says that nothing is to be done, and the HPA that its target was at
// zero when it looked last.
func Unrecorded(so *v1alpha1.ScaledObject, hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	switch active, _ := so.Status.Conditions.Get(v1alpha1.ConditionActive); active.Reason {
	case v1alpha1.ReasonScalerNotActive, v1alpha1.ReasonUnknownState: // at rest, or with a trigger that fails there
	default:
		return false
	}
	return FoundAtZero(hpa)
}

// FoundAtZero reports whether the HPA controller found the target at zero when it
// looked last.
func FoundAtZero(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	for i := range hpa.Status.Conditions {
		if c := &hpa.Status.Conditions[i]; c.Type == autoscalingv2.ScalingActive {
			return c.Reason == v1alpha1.ReasonScalingDisabled
		}
	}
	return false
}

// Inherited is the record of a rise that another process made and told nobody of,
// nil where the target is at rest. By which metric it rose is not known any more: one
// that is held is as good as another.
func Inherited(in Input) *v1alpha1.Activation {
	if in.Replicas == nil || AtRest(in.Object, *in.Replicas) {
		return nil
	}
	a := &v1alpha1.Activation{Replicas: *in.Replicas, Time: metav1.NewMicroTime(in.Now)}
	if in.Object.Modifiers() != nil {
		return a
	}
	for _, t := range in.Triggers {
		for _, m := range t.Metrics {
			if a.Metric == "" && m.Type != autoscalingv2.ValueMetricType && m.Target > 0 {
				a.Metric = m.Name
			}
		}
	}
	return a
}

// riseLimit is how high the first write may go under the user's scaleUp rules.
// The HPA's defaults, which no user wrote, are no limit: they are what the jump
// is there to spare.
func riseLimit(so *v1alpha1.ScaledObject) int32 {
	up := scaleUpOf(so)
	if up == nil {
		return math.MaxInt32
	}
	disabled := up.SelectPolicy != nil && *up.SelectPolicy == autoscalingv2.DisabledPolicySelect
	if disabled || up.StabilizationWindowSeconds != nil && *up.StabilizationWindowSeconds > 0 {
		return so.HPAMinReplicas()
	}
	p := policiesOf(so)
	if len(p.all) == 0 {
		return math.MaxInt32
	}
	return p.after(0)
}

// settling is how much later than its record a rise may be seen.
const settling = 2 * time.Second

// Ceiling is the most replicas that the user's scaleUp policies allow at a
// moment after a rise from rest, going by the record in the status. The HPA
// remembers its own rises and not that one, so as long as one of the policies'
// periods reaches back to it the HPA must not be told of more. It is false when
// nothing is to be held back.
func Ceiling(so *v1alpha1.ScaledObject, now time.Time) (int32, bool) {
	a := so.Status.Activation
	if a == nil {
		return 0, false
	}
	p, age := policiesOf(so), now.Sub(a.Time.Time)-settling
	if len(p.all) == 0 || age <= -ActivationWindow || age >= p.longest() {
		return 0, false
	}
	return max(p.after(int(max(age, 0)/time.Second)), a.Replicas), true
}

// policies are the user's explicit scaleUp policies and what a rise from rest
// starts from.
type policies struct {
	all         []autoscalingv2.HPAScalingPolicy
	slowest     bool // the smallest change counts, else the largest
	rest, floor int32
}

// What of policies counts. The API server takes no HPA with a longer period, in
// seconds; a ScaledObject may have any, any number of them, and a record of any
// age.
const longestPeriod, mostPolicies = 1800, 100

// bounded are policies that cost no more than those of an HPA.
func bounded(all []autoscalingv2.HPAScalingPolicy) []autoscalingv2.HPAScalingPolicy {
	kept := slices.Clone(all[:min(len(all), mostPolicies)])
	for i := range kept {
		kept[i].PeriodSeconds = min(kept[i].PeriodSeconds, longestPeriod)
	}
	return kept
}

// policiesOf has no policies for an object whose user wrote none.
func policiesOf(so *v1alpha1.ScaledObject) policies {
	p := policies{floor: so.HPAMinReplicas()}
	if idle := so.Spec.IdleReplicaCount; idle != nil {
		p.rest = *idle
	}
	up := scaleUpOf(so)
	if up == nil {
		return p
	}
	p.all = bounded(up.Policies)
	if up.SelectPolicy != nil {
		switch *up.SelectPolicy {
		case autoscalingv2.DisabledPolicySelect:
			p.all = nil
		case autoscalingv2.MinChangePolicySelect:
			p.slowest = true
		case autoscalingv2.MaxChangePolicySelect:
		}
	}
	if len(p.all) == 0 && p.slowest {
		// Whoever asks for the smaller change without naming any means the
		// smaller of the HPA's defaults.
		p.all = defaultScaleUp
	}
	return p
}

func scaleUpOf(so *v1alpha1.ScaledObject) *autoscalingv2.HPAScalingRules {
	if behavior := so.HPABehavior(); behavior != nil {
		return behavior.ScaleUp
	}
	return nil
}

// longest is the longest period of all.
func (p policies) longest() (longest time.Duration) {
	for _, policy := range p.all {
		longest = max(longest, time.Duration(policy.PeriodSeconds)*time.Second)
	}
	return longest
}

// after is the most replicas that the policies allow so many seconds after a
// rise from rest, which counts like any other.
//
// Source: the HPA's scaling policies,
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#scaling-policies
func (p policies) after(seconds int) int32 {
	most := make([]int32, seconds+1)
	for s := range most {
		most[s] = p.choose(func(policy autoscalingv2.HPAScalingPolicy) int32 {
			if period := max(int(policy.PeriodSeconds), 1); s >= period {
				return rise(most[s-period], policy)
			}
			return p.first(policy)
		})
	}
	return most[seconds]
}

// choose is what the selection makes of the policies' limits.
func (p policies) choose(limit func(autoscalingv2.HPAScalingPolicy) int32) int32 {
	chosen := limit(p.all[0])
	for _, policy := range p.all[1:] {
		if p.slowest {
			chosen = min(chosen, limit(policy))
		} else {
			chosen = max(chosen, limit(policy))
		}
	}
	return chosen
}

// first is how high a policy lets a rise from rest go within its period. Of
// nothing there is no percentage: that is of max(min, 1), which the HPA's
// minimum forces anyway.
func (p policies) first(policy autoscalingv2.HPAScalingPolicy) int32 {
	if policy.Type == autoscalingv2.PercentScalingPolicy {
		return rise(p.floor, policy)
	}
	return max(p.floor, rise(p.rest, policy))
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
