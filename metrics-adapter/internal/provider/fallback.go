package provider

import (
	"context"
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// fallback answers for a metric that could not be read: what the controller's
// verdict comes to, or the error where there is none. A good reading always
// beats a verdict, so this is asked last.
func (p *Provider) fallback(ctx context.Context, so *v1alpha1.ScaledObject, metric string, cause error) (float64, error) {
	for _, verdict := range so.Status.Fallback {
		if verdict.Metric != metric || verdict.Replicas == nil {
			continue
		}
		target, kind, err := p.target(ctx, so, metric)
		if err != nil {
			return 0, errors.Join(cause, err)
		}
		return p.fallbackValue(ctx, so, target, kind, *verdict.Replicas, cause)
	}
	return 0, cause
}

func (p *Provider) fallbackValue(
	ctx context.Context, so *v1alpha1.ScaledObject, target float64, kind autoscalingv2.MetricTargetType, replicas int32, cause error,
) (float64, error) {
	var ready int32
	if kind == autoscalingv2.ValueMetricType {
		var err error
		if ready, err = p.readyPods(ctx, so); err != nil {
			return 0, errors.Join(cause, err)
		}
	}
	value, err := scaling.FallbackValue(target, kind, replicas, ready)
	if err != nil {
		return 0, errors.Join(cause, err)
	}
	return value, nil
}

// target is what the HPA steers a metric towards: the number that the
// answer will be divided by.
func (p *Provider) target(ctx context.Context, so *v1alpha1.ScaledObject, metric string) (float64, autoscalingv2.MetricTargetType, error) {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	key := types.NamespacedName{Namespace: so.Namespace, Name: so.Status.HpaName}
	if err := p.Objects.Get(ctx, key, hpa); err != nil {
		return 0, "", fmt.Errorf("HPA: %w", err)
	}
	if why := kept.Why(hpa); why != "" {
		return 0, "", fmt.Errorf("HPA %s: %w: %s", hpa.Name, errHPANotKept, why)
	}
	for _, spec := range hpa.Spec.Metrics {
		if spec.External == nil || spec.External.Metric.Name != metric {
			continue
		}
		target := spec.External.Target
		quantity := target.AverageValue
		if target.Type == autoscalingv2.ValueMetricType {
			quantity = target.Value
		}
		if quantity != nil {
			return quantity.AsApproximateFloat64(), target.Type, nil
		}
	}
	return 0, "", fmt.Errorf("HPA %s has no metric %s", hpa.Name, metric)
}

// errHPANotKept is of an HPA that there is no room for.
var errHPANotKept = errors.New("its metrics are not known")

// mostOfMetrics is what the metrics of an HPA may have, as JSON; those of one that
// a ScaledObject has have a tenth.
const mostOfMetrics = 256 << 10

// StripHPA is a transform for caches, within a budget: of an HPA it keeps what target
// and risen read, and of one that there is no room for why there is nothing.
func StripHPA(budget *kept.Budget) func(any) (any, error) {
	return kept.Transform(budget, "HorizontalPodAutoscaler", stripHPA, func(hpa *autoscalingv2.HorizontalPodAutoscaler, _ string) {
		hpa.Spec.Metrics = nil
	})
}

func stripHPA(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	metrics, rests := hpa.Spec.Metrics, scaling.FoundAtZero(hpa)
	*hpa = autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{
		Name: hpa.Name, Namespace: hpa.Namespace, UID: hpa.UID, ResourceVersion: hpa.ResourceVersion,
	}}
	if rests {
		hpa.Status.Conditions = whileDisabled
	}
	if !v1alpha1.Fits(metrics, mostOfMetrics) {
		return // none of a ScaledObject's
	}
	for _, spec := range metrics {
		if spec.External == nil {
			continue
		}
		hpa.Spec.Metrics = append(hpa.Spec.Metrics, autoscalingv2.MetricSpec{External: &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: spec.External.Metric.Name}, Target: spec.External.Target,
		}})
	}
}

// readyPods is how many pods of the object's target are ready.
func (p *Provider) readyPods(ctx context.Context, so *v1alpha1.ScaledObject) (int32, error) {
	if so.Status.ScaleTargetGVKR == nil {
		return 0, errors.New("the scale target is not known yet")
	}
	return p.Ready.count(ctx, targetOf(so))
}
