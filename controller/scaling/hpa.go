package scaling

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Behavior is that of an object's HPA: what the user gave, with the directions
// that are paused switched off. It is complete, as the API server would complete
// it, so that it can be compared with the live one.
func Behavior(so *v1alpha1.ScaledObject) *autoscalingv2.HorizontalPodAutoscalerBehavior {
	b := so.HPABehavior().DeepCopy()
	if so.ScaleInPaused() {
		b = disable(b, func(b *autoscalingv2.HorizontalPodAutoscalerBehavior) **autoscalingv2.HPAScalingRules {
			return &b.ScaleDown
		})
	}
	if so.ScaleOutPaused() {
		b = disable(b, func(b *autoscalingv2.HorizontalPodAutoscalerBehavior) **autoscalingv2.HPAScalingRules {
			return &b.ScaleUp
		})
	}
	if b == nil {
		return nil
	}
	b.ScaleUp = complete(b.ScaleUp, new(int32(0)), defaultScaleUp)
	b.ScaleDown = complete(b.ScaleDown, nil, defaultScaleDown)
	return b
}

func disable(
	b *autoscalingv2.HorizontalPodAutoscalerBehavior,
	direction func(*autoscalingv2.HorizontalPodAutoscalerBehavior) **autoscalingv2.HPAScalingRules,
) *autoscalingv2.HorizontalPodAutoscalerBehavior {
	if b == nil {
		b = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	}
	rules := direction(b)
	if *rules == nil {
		*rules = &autoscalingv2.HPAScalingRules{}
	}
	(*rules).SelectPolicy = new(autoscalingv2.DisabledPolicySelect)
	return b
}

// complete fills in what the API server fills in when a behavior is given at
// all.
//
// Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#default-behavior
func complete(rules *autoscalingv2.HPAScalingRules, window *int32, policies []autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	if rules == nil {
		rules = &autoscalingv2.HPAScalingRules{}
	}
	if rules.StabilizationWindowSeconds == nil {
		rules.StabilizationWindowSeconds = window
	}
	if rules.SelectPolicy == nil {
		rules.SelectPolicy = new(autoscalingv2.MaxChangePolicySelect)
	}
	if len(rules.Policies) == 0 {
		rules.Policies = slices.Clone(policies)
	}
	return rules
}

// defaultScaleUp is what the HPA does without policies: four pods or double per
// 15 s.
var defaultScaleUp = []autoscalingv2.HPAScalingPolicy{
	{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
	{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
}

// defaultScaleDown is what it does on the way down: all at once, after its window.
var defaultScaleDown = []autoscalingv2.HPAScalingPolicy{
	{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
}

// External is the metric of an object's HPA that the metrics adapter answers for.
func External(so *v1alpha1.ScaledObject, name string, target float64, how autoscalingv2.MetricTargetType) autoscalingv2.MetricSpec {
	quantity := Quantity(target)
	t := autoscalingv2.MetricTarget{Type: how, AverageValue: &quantity}
	if how == autoscalingv2.ValueMetricType {
		t = autoscalingv2.MetricTarget{Type: how, Value: &quantity}
	}
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ExternalMetricSourceType,
		External: &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{
				Name: name,
				Selector: &metav1.LabelSelector{
					MatchLabels: map[string]string{v1alpha1.LabelScaledObjectName: so.Name},
				},
			},
			Target: t,
		},
	}
}
