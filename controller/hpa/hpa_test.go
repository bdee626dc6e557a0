package hpa

import (
	"errors"
	"slices"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Whether it does the same as Kubernetes is tested in module test/hpa, which
// links Kubernetes.

func external(kind autoscalingv2.MetricTargetType, target string) autoscalingv2.MetricSpec {
	q := resource.MustParse(target)
	to := autoscalingv2.MetricTarget{Type: kind, AverageValue: &q}
	if kind == autoscalingv2.ValueMetricType {
		to = autoscalingv2.MetricTarget{Type: kind, Value: &q}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Target: to}}
}

// TestLimits has what kept the replicas from what the metric asked for told.
func TestLimits(t *testing.T) {
	a := Autoscaler{Min: 2, Max: 10, Metrics: []autoscalingv2.MetricSpec{external(autoscalingv2.AverageValueMetricType, "1")}, Tolerance: Tolerance, DownscaleWindow: DownscaleWindow}
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	down := errors.New("down")
	for i, step := range []struct {
		set, want int32
		value     string
		limit     Limit
	}{
		{0, 0, "9", Disabled}, {1, 2, "9", Bounds}, {2, 4, "9", Rate}, {4, 8, "9", Rate}, {8, 9, "9", Unlimited},
		{9, 9, "0", Window}, {9, 9, "", Unreadable}, {9, 10, "70", Bounds}, {20, 10, "1", Bounds},
	} {
		replicas := step.set
		r := a.Sync(now, Scale{Replicas: replicas, Pods: replicas, Ready: replicas}, func(autoscalingv2.MetricSpec) (resource.Quantity, error) {
			if step.value == "" {
				return resource.Quantity{}, down
			}
			return resource.MustParse(step.value), nil
		})
		if r.Replicas != step.want || r.Limit != step.limit || errors.Is(r.Err, down) != (step.value == "") {
			t.Errorf("step %d: %+v, want %d, %q", i, r, step.want, step.limit)
		}
		now = now.Add(SyncPeriod)
	}
}

// TestWhatAPeriodHolds has a change counted for as long as a policy's period.
func TestWhatAPeriodHolds(t *testing.T) {
	rules := func(window int32) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, Policies: []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 3, PeriodSeconds: 60},
		}}
	}
	a := Autoscaler{
		Min: 1, Max: 100, Metrics: []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, Tolerance: Tolerance,
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules(0), ScaleDown: rules(0)},
	}
	now, replicas := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC), int32(1)
	var all []int32
	for range 9 {
		replicas = a.Sync(now, Scale{Replicas: replicas, Pods: replicas, Ready: replicas}, func(autoscalingv2.MetricSpec) (resource.Quantity, error) {
			return resource.MustParse("50"), nil
		}).Replicas
		all = append(all, replicas)
		now = now.Add(SyncPeriod)
	}
	if want := []int32{4, 4, 4, 4, 7, 7, 7, 7, 10}; !slices.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}
