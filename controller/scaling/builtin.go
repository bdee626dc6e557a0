package scaling

import (
	"errors"
	"fmt"
	"strconv"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Builtin is the HPA metric of a cpu or memory trigger. An error has the key
// first that is wrong.
func Builtin(t v1alpha1.ScaleTrigger) (autoscalingv2.MetricSpec, error) {
	if err := t.ValidateMetricType(); err != nil {
		return autoscalingv2.MetricSpec{}, err
	}
	target, err := builtinTarget(t)
	if err != nil {
		return autoscalingv2.MetricSpec{}, err
	}
	name := corev1.ResourceName(t.Type)
	if container := t.Metadata["containerName"]; container != "" {
		return autoscalingv2.MetricSpec{
			Type: autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
				Name: name, Container: container, Target: target,
			},
		}, nil
	}
	return autoscalingv2.MetricSpec{
		Type:     autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{Name: name, Target: target},
	}, nil
}

func builtinTarget(t v1alpha1.ScaleTrigger) (autoscalingv2.MetricTarget, error) {
	text := t.Metadata["value"]
	target := autoscalingv2.MetricTarget{Type: t.MetricType}
	if text == "" {
		return target, errors.New("value: missing")
	}
	switch t.MetricType {
	case autoscalingv2.UtilizationMetricType:
		percent, err := strconv.ParseInt(text, 10, 32)
		if err != nil || percent <= 0 {
			return target, fmt.Errorf("value: %q is not a whole percentage greater than 0", text)
		}
		target.AverageUtilization = new(int32(percent))
	default:
		if err := scalerv1.CheckQuantity(text); err != nil {
			return target, fmt.Errorf("value: %w", err)
		}
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Sign() <= 0 {
			return target, fmt.Errorf("value: %q is not a quantity greater than 0, such as 500m or 512Mi", text)
		}
		target.AverageValue = &quantity
	}
	return target, nil
}
