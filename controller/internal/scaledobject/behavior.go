package scaledobject

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// behavior is the HPA's behavior: what the user gave, with the directions that
// are paused switched off. It is complete, as the API server would complete
// it, so that it can be compared with the live one.
func behavior(so *v1alpha1.ScaledObject) *autoscalingv2.HorizontalPodAutoscalerBehavior {
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
	b.ScaleUp = complete(b.ScaleUp, ptr.To[int32](0), pods(4), percent(100))
	b.ScaleDown = complete(b.ScaleDown, nil, percent(100))
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
	(*rules).SelectPolicy = ptr.To(autoscalingv2.DisabledPolicySelect)
	return b
}

// complete fills in what the API server fills in when a behavior is given at
// all.
//
// Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#default-behavior
func complete(rules *autoscalingv2.HPAScalingRules, window *int32, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	if rules == nil {
		rules = &autoscalingv2.HPAScalingRules{}
	}
	if rules.StabilizationWindowSeconds == nil {
		rules.StabilizationWindowSeconds = window
	}
	if rules.SelectPolicy == nil {
		rules.SelectPolicy = ptr.To(autoscalingv2.MaxChangePolicySelect)
	}
	if len(rules.Policies) == 0 {
		rules.Policies = policies
	}
	return rules
}

// policyPeriod is the period of the API server's default policies, in seconds.
const policyPeriod = 15

func percent(value int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: value, PeriodSeconds: policyPeriod}
}

func pods(value int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: value, PeriodSeconds: policyPeriod}
}
