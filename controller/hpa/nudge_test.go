package hpa

import (
	"errors"
	"math"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// anyRules are policies of one direction as the API server completes them.
func anyRules(t *rapid.T, name string) *autoscalingv2.HPAScalingRules {
	window := rapid.SampledFrom([]int32{0, 0, 0, 30, 300}).Draw(t, name+" window")
	chosen := rapid.SampledFrom([]autoscalingv2.ScalingPolicySelect{
		autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect,
	}).Draw(t, name+" select")
	rules := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: &chosen}
	for range rapid.IntRange(1, 2).Draw(t, name+" policies") {
		rules.Policies = append(rules.Policies, autoscalingv2.HPAScalingPolicy{
			Type:          rapid.SampledFrom([]autoscalingv2.HPAScalingPolicyType{autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy}).Draw(t, "type"),
			Value:         rapid.Int32Range(1, 200).Draw(t, "by"),
			PeriodSeconds: rapid.Int32Range(1, 120).Draw(t, "period"),
		})
	}
	return rules
}

// anyHPA is an HPA with what its controller may remember of an hour, and what its
// metrics read: NaN is one that cannot be read.
func anyHPA(t *rapid.T) (a Autoscaler, target Scale, values []float64) {
	a = Autoscaler{
		Min: rapid.Int32Range(1, 5).Draw(t, "min"), Max: rapid.Int32Range(5, 60).Draw(t, "max"),
		Tolerance: Tolerance, DownscaleWindow: DownscaleWindow,
	}
	if rapid.Bool().Draw(t, "has behavior") {
		a.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: anyRules(t, "up"), ScaleDown: anyRules(t, "down")}
	}
	for range rapid.IntRange(1, 3).Draw(t, "metrics") {
		kind := rapid.SampledFrom([]autoscalingv2.MetricTargetType{autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType}).Draw(t, "kind")
		a.Metrics = append(a.Metrics, external(kind, rapid.SampledFrom([]string{"1", "5", "100m", "1k"}).Draw(t, "target")))
		values = append(values, rapid.SampledFrom([]float64{math.NaN(), 0, 1, 4, 5, 5.4, 5.6, 11, 50, 1e6}).Draw(t, "value"))
	}
	pods := rapid.Int32Range(0, 60).Draw(t, "pods")
	target = Scale{Replicas: rapid.Int32Range(0, 60).Draw(t, "replicas"), Pods: pods, Ready: rapid.Int32Range(0, pods).Draw(t, "ready")}
	return a, target, values
}

func reading(a Autoscaler, values []float64) func(autoscalingv2.MetricSpec) (resource.Quantity, error) {
	return func(m autoscalingv2.MetricSpec) (resource.Quantity, error) {
		for i := range a.Metrics {
			if a.Metrics[i].External == m.External && !math.IsNaN(values[i]) {
				return *resource.NewMilliQuantity(int64(values[i]*1000), resource.DecimalSI), nil
			}
		}
		return resource.Quantity{}, errors.New("not known")
	}
}

// TestANudgeNeverLowersAndNeverIsInVain holds what is decided against what the HPA
// would make of the same readings, whatever it remembers.
func TestANudgeNeverLowersAndNeverIsInVain(t *testing.T) {
	t.Parallel()
	nudged := 0
	rapid.Check(t, func(t *rapid.T) {
		a, target, values := anyHPA(t)
		now := t0
		lived := a
		for range rapid.IntRange(0, 5).Draw(t, "looks before") {
			before := Scale{Replicas: rapid.Int32Range(0, 60).Draw(t, "had"), Pods: 1, Ready: 1}
			lived.Sync(now, before, reading(a, values))
			now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "later")) * time.Second)
		}
		n := Nudge{HPA: a, Target: target, Read: reading(a, values), Asked: rapid.Int32Range(0, 20).Draw(t, "asked")}
		if rapid.Bool().Draw(t, "was nudged") {
			n.At = now.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "ago")) * time.Millisecond)
		}
		wants, due, wait := n.Due(now)
		r := lived.Sync(now, target, n.Read)
		switch {
		case due && wait != 0, wait < 0, wait > NudgePeriod:
			t.Fatalf("due %v in %v", due, wait)
		case !due:
			return
		case r.Replicas < target.Replicas:
			t.Fatalf("nudged an HPA that goes from %d to %d", target.Replicas, r.Replicas)
		case r.Wants <= target.Replicas || r.Wants != wants:
			t.Fatalf("nudged at %d replicas for %d, and the metrics ask for %d", target.Replicas, wants, r.Wants)
		case target.Replicas == 0, target.Replicas >= a.Max:
			t.Fatalf("nudged at %d replicas of at most %d", target.Replicas, a.Max)
		case wants <= n.Asked:
			t.Fatalf("nudged for %d after it was for %d", wants, n.Asked)
		case !n.At.IsZero() && now.Sub(n.At) < NudgePeriod:
			t.Fatalf("nudged %v after the nudge before", now.Sub(n.At))
		case a.Behavior != nil && (*a.Behavior.ScaleUp.StabilizationWindowSeconds > 0 || *a.Behavior.ScaleUp.SelectPolicy == autoscalingv2.DisabledPolicySelect):
			t.Fatal("nudged an HPA that waits for a window, or adds nothing")
		}
		nudged++
	})
	if nudged == 0 {
		t.Error("nobody was nudged: nothing was held against anything")
	}
}

// TestWhatHoldsANudgeBack goes through what the HPA said after its last look.
func TestWhatHoldsANudgeBack(t *testing.T) {
	t.Parallel()
	limited := func(kind autoscalingv2.HorizontalPodAutoscalerConditionType, reason string) autoscalingv2.HorizontalPodAutoscalerStatus {
		return autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: reason}}}
	}
	nudge := func(change func(*Nudge)) Nudge {
		a := Of(autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 10, Metrics: []autoscalingv2.MetricSpec{external(autoscalingv2.AverageValueMetricType, "5")}})
		n := Nudge{HPA: a, Target: Scale{Replicas: 1, Pods: 1, Ready: 1}, Read: func(autoscalingv2.MetricSpec) (resource.Quantity, error) { return resource.MustParse("40"), nil }}
		change(&n)
		return n
	}
	for name, c := range map[string]struct {
		change func(*Nudge)
		due    bool
		wait   time.Duration
	}{
		"nothing":            {func(*Nudge) {}, true, 0},
		"below its minimum":  {func(n *Nudge) { n.Status = limited(autoscalingv2.ScalingLimited, "TooFewReplicas") }, true, 0},
		"its policies":       {func(n *Nudge) { n.Status = limited(autoscalingv2.ScalingLimited, "ScaleUpLimit") }, false, 0},
		"its maximum":        {func(n *Nudge) { n.Status = limited(autoscalingv2.ScalingLimited, "TooManyReplicas") }, false, 0},
		"its window":         {func(n *Nudge) { n.Status = limited(autoscalingv2.AbleToScale, "ScaleUpStabilized") }, false, 0},
		"nudged for as much": {func(n *Nudge) { n.Asked, n.At = 8, t0.Add(-time.Minute) }, false, 0},
		"nudged for less":    {func(n *Nudge) { n.Asked, n.At = 7, t0.Add(-time.Minute) }, true, 0},
		"nudged just before": {func(n *Nudge) { n.Asked, n.At = 7, t0.Add(-300*time.Millisecond) }, false, 700 * time.Millisecond},
		"enough replicas":    {func(n *Nudge) { n.Target = Scale{Replicas: 8, Pods: 8, Ready: 8} }, false, 0},
		"within tolerance":   {func(n *Nudge) { n.Target = Scale{Replicas: 7, Pods: 7, Ready: 7}; n.Read = reads("38") }, false, 0},
		"just beyond it":     {func(n *Nudge) { n.Target = Scale{Replicas: 7, Pods: 7, Ready: 7}; n.Read = reads("39") }, true, 0},
		"at rest":            {func(n *Nudge) { n.Target = Scale{} }, false, 0},
		"above its maximum":  {func(n *Nudge) { n.Target = Scale{Replicas: 11, Pods: 11, Ready: 11} }, false, 0},
		"a clock set back":   {func(n *Nudge) { n.At = t0.Add(time.Hour) }, false, NudgePeriod},
		"metrics not to hand": {func(n *Nudge) {
			n.Read = func(autoscalingv2.MetricSpec) (q resource.Quantity, err error) { return q, errNotExternal }
		}, false, 0},
	} {
		if _, due, wait := nudge(c.change).Due(t0); due != c.due || wait != c.wait {
			t.Errorf("%s: due %v in %v, want %v in %v", name, due, wait, c.due, c.wait)
		}
	}
}

func reads(value string) func(autoscalingv2.MetricSpec) (resource.Quantity, error) {
	return func(autoscalingv2.MetricSpec) (resource.Quantity, error) { return resource.MustParse(value), nil }
}
