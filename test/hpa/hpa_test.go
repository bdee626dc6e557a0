package hpa

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-autoscaler/sluice/controller/hpa"
)

// ours is what kubectl-sluice makes of the same.
func ours(object *autoscalingv2.HorizontalPodAutoscaler, replicas int32, steps []step) (after []int32) {
	c := &cluster{replicas: replicas}
	a := hpa.Autoscaler{
		Min: *object.Spec.MinReplicas, Max: object.Spec.MaxReplicas, Metrics: object.Spec.Metrics, Behavior: object.Spec.Behavior,
		Tolerance: hpa.Tolerance, DownscaleWindow: hpa.DownscaleWindow,
	}
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, s := range steps {
		c.prepare(s)
		pods, ready := c.ready()
		c.replicas = a.Sync(now, hpa.Scale{Replicas: c.replicas, Pods: pods, Ready: ready}, func(m autoscalingv2.MetricSpec) (resource.Quantity, error) {
			v, err := c.value(m.External.Metric.Name)
			return *resource.NewMilliQuantity(v, resource.DecimalSI), err
		}).Replicas
		after = append(after, c.replicas)
		now = now.Add(hpa.SyncPeriod)
	}
	return after
}

// compare holds one against the other.
func compare(t *testing.T, object *autoscalingv2.HorizontalPodAutoscaler, replicas int32, steps []step) []int32 {
	t.Helper()
	want, have := kubernetes(t, object, replicas, steps), ours(object, replicas, steps)
	if !slices.Equal(have, want) {
		t.Errorf("from %d, min %d, max %d, behavior %s\nmetrics %s\nsteps %v\nhave %v\nwant %v",
			replicas, *object.Spec.MinReplicas, object.Spec.MaxReplicas, described(object.Spec.Behavior), targets(object), steps, have, want)
	}
	return want
}

func described(b *autoscalingv2.HorizontalPodAutoscalerBehavior) string {
	if b == nil {
		return "none"
	}
	return "up " + b.ScaleUp.String() + ", down " + b.ScaleDown.String()
}

func targets(object *autoscalingv2.HorizontalPodAutoscaler) (all []string) {
	for _, m := range object.Spec.Metrics {
		q := m.External.Target.AverageValue
		if q == nil {
			q = m.External.Target.Value
		}
		all = append(all, fmt.Sprint(m.External.Metric.Name, " ", m.External.Target.Type, " ", q))
	}
	return all
}

func metric(i int, kind autoscalingv2.MetricTargetType, target string) autoscalingv2.MetricSpec {
	q := resource.MustParse(target)
	to := autoscalingv2.MetricTarget{Type: kind, AverageValue: &q}
	if kind == autoscalingv2.ValueMetricType {
		to = autoscalingv2.MetricTarget{Type: kind, Value: &q}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: fmt.Sprintf("s%d", i)}, Target: to,
	}}
}

func rules(window int32, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: new(autoscalingv2.MaxChangePolicySelect), Policies: policies}
}

func policy(kind autoscalingv2.HPAScalingPolicyType, value, period int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: kind, Value: value, PeriodSeconds: period}
}

// values are steps of one metric, one for each.
func values(all ...int64) (steps []step) {
	for _, v := range all {
		steps = append(steps, step{values: []int64{v}})
	}
	return steps
}

const failing = -1

// TestTheSameAsKubernetes has cases whose numbers are known beforehand, too.
func TestTheSameAsKubernetes(t *testing.T) {
	average, value := autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType
	pods, percent := autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy
	up := rules(0, policy(pods, 4, 15), policy(percent, 100, 15))
	down := rules(300, policy(percent, 100, 15))
	for name, tt := range map[string]struct {
		behavior *autoscalingv2.HorizontalPodAutoscalerBehavior
		lo, hi   int32
		metrics  []autoscalingv2.MetricSpec
		from     int32
		steps    []step
		want     []int32
	}{
		"doubles without a behavior": {lo: 1, hi: 100, from: 1, metrics: []autoscalingv2.MetricSpec{metric(0, average, "5")},
			steps: values(100_000, 100_000, 100_000, 100_000), want: []int32{4, 8, 16, 20}},
		"tolerance": {lo: 1, hi: 100, from: 10, metrics: []autoscalingv2.MetricSpec{metric(0, average, "10")},
			steps: values(110_000, 110_001, 109_000), want: []int32{10, 12, 12}},
		"a failing metric keeps": {lo: 1, hi: 100, from: 5, metrics: []autoscalingv2.MetricSpec{metric(0, average, "1"), metric(1, average, "1")},
			steps: []step{{values: []int64{3_000, failing}}, {values: []int64{9_000, failing}}, {values: []int64{failing, failing}}}, want: []int32{5, 9, 9}},
		"five minutes on the way down": {lo: 1, hi: 100, from: 10, metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")},
			steps: values(10_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
			want:  []int32{10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 1, 1}},
		"a value of ready Pods": {lo: 1, hi: 100, from: 4, metrics: []autoscalingv2.MetricSpec{metric(0, value, "10")},
			steps: []step{{values: []int64{20_000}, unready: 2}, {values: []int64{20_000}}}, want: []int32{4, 8}},
		"zero is nobody's business": {lo: 1, hi: 100, from: 0, metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")},
			steps: []step{{values: []int64{9_000}}, {values: []int64{9_000}, set: 2}, {values: []int64{9_000}}, {values: []int64{0}, set: -1}}, want: []int32{0, 4, 8, 0}},
		"bounds": {lo: 3, hi: 6, from: 9, metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")},
			steps: []step{{values: []int64{9_000}}, {values: []int64{9_000}, set: 1}, {values: []int64{0}}}, want: []int32{6, 3, 6}},
		"four Pods or double": {behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down}, lo: 1, hi: 100, from: 1,
			metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")}, steps: values(50_000, 50_000, 50_000, 50_000, 50_000), want: []int32{5, 10, 20, 40, 50}},
		"one Pod a minute down": {behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: rules(0, policy(pods, 1, 60))}, lo: 1, hi: 100, from: 5,
			metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")}, steps: values(1_000, 1_000, 1_000, 1_000, 1_000, 1_000), want: []int32{4, 4, 4, 4, 3, 3}},
		"disabled": {behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: new(int32(0)), SelectPolicy: new(autoscalingv2.DisabledPolicySelect), Policies: down.Policies,
		}}, lo: 1, hi: 100, from: 5, metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")}, steps: values(1_000, 1_000), want: []int32{5, 5}},
		"a window on the way up": {behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules(60, up.Policies...), ScaleDown: down}, lo: 1, hi: 100, from: 2,
			metrics: []autoscalingv2.MetricSpec{metric(0, average, "1")}, steps: values(2_000, 4_000, 6_000, 5_000, 6_000, 6_000), want: []int32{2, 2, 2, 2, 4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			got := compare(t, objectOf(tt.behavior, tt.lo, tt.hi, tt.metrics...), tt.from, tt.steps)
			if !slices.Equal(got, tt.want) {
				t.Errorf("Kubernetes says %v, the case %v", got, tt.want)
			}
		})
	}
}

// TestTheSameAsKubernetesAtRandom has HPAs, metrics and interference of any kind.
func TestTheSameAsKubernetesAtRandom(t *testing.T) {
	const cases, syncs = 60, 60
	moved := 0
	for seed := range uint64(cases) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		object, steps := r.object(), []step(nil)
		level := make([]int64, len(object.Spec.Metrics))
		for range syncs {
			steps = append(steps, r.step(level))
		}
		after := compare(t, object, r.Int32N(30), steps)
		if slices.Max(after) != slices.Min(after) {
			moved++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if moved < cases/2 {
		t.Errorf("%d of %d HPAs moved anything", moved, cases)
	}
}

type random struct{ *rand.Rand }

func (r random) object() *autoscalingv2.HorizontalPodAutoscaler {
	lo := 1 + r.Int32N(5)
	var metrics []autoscalingv2.MetricSpec
	for i := range 1 + r.IntN(3) {
		kind := autoscalingv2.AverageValueMetricType
		if r.IntN(3) == 0 {
			kind = autoscalingv2.ValueMetricType
		}
		metrics = append(metrics, metric(i, kind, fmt.Sprintf("%dm", 1+r.IntN(20_000))))
	}
	var behavior *autoscalingv2.HorizontalPodAutoscalerBehavior
	if r.IntN(4) > 0 {
		behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: r.rules(), ScaleDown: r.rules()}
		if r.IntN(4) == 0 {
			behavior.ScaleDown.StabilizationWindowSeconds = nil // the flag's
		}
	}
	return objectOf(behavior, lo, lo+r.Int32N(100), metrics...)
}

func (r random) rules() *autoscalingv2.HPAScalingRules {
	var policies []autoscalingv2.HPAScalingPolicy
	for range 1 + r.IntN(3) {
		kind, value := autoscalingv2.PodsScalingPolicy, 1+r.Int32N(8)
		if r.IntN(2) == 0 {
			kind, value = autoscalingv2.PercentScalingPolicy, 1+r.Int32N(150)
		}
		policies = append(policies, policy(kind, value, 1+r.Int32N(120)))
	}
	window := int32(0)
	if r.IntN(2) == 0 {
		window = r.Int32N(200)
	}
	all := rules(window, policies...)
	all.SelectPolicy = new([]autoscalingv2.ScalingPolicySelect{
		autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.DisabledPolicySelect,
	}[r.IntN(4)])
	if r.IntN(3) == 0 {
		q := resource.MustParse(fmt.Sprintf("%dm", r.IntN(400)))
		all.Tolerance = &q
	}
	return all
}

// step lets each metric be about where it was, or anywhere.
func (r random) step(level []int64) step {
	s := step{}
	for i := range level {
		switch r.IntN(6) {
		case 0:
			level[i] = r.Int64N(400_000)
		case 1:
			level[i] = 0
		case 2:
			level[i] += level[i] / 10
		}
		v := level[i]
		if r.IntN(12) == 0 {
			v = failing
		}
		s.values = append(s.values, v)
	}
	switch r.IntN(25) {
	case 0:
		s.set = -1
	case 1, 2:
		s.set = 1 + r.Int32N(40)
	}
	if r.IntN(5) == 0 {
		s.unready = r.Int32N(6)
	}
	return s
}
