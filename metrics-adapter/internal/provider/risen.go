package provider

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// risen is the object with the record of a rise from zero that its status does not
// have yet: the controller writes replicas first and tells of them after, in a rush
// a while after, and whoever reads this has it later still. An HPA that looks in
// between would stop busy pods when they have taken the backlog by then, or rise
// further than the user's policies let it.
//
// That one looks is how it can be told. The HPA controller asks for no metric of a
// target at zero, and says so in the HPA, which it writes after it has asked: as
// long as the HPA says so, whoever asks is looking for the first time since. The
// rise is then what the target's scale says.
func (p *Provider) risen(ctx context.Context, so *v1alpha1.ScaledObject, metric string) (*v1alpha1.ScaledObject, error) {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := p.Objects.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: so.Status.HpaName}, hpa); err != nil || !scaling.Unrecorded(so, hpa) {
		return so, nil //nolint:nilerr // nothing is known to have risen
	}
	scale, err := p.Ready.scale(ctx, targetOf(so))
	if err != nil {
		return nil, fmt.Errorf("its target has just left zero, and how far is not known: %w", err)
	}
	if scaling.AtRest(so, scale.Spec.Replicas) {
		return so, nil
	}
	// A target of type Value says nothing of a number of replicas.
	if _, kind, err := p.target(ctx, so, metric); err != nil || kind == autoscalingv2.ValueMetricType {
		metric = ""
	}
	known := *so
	known.Status.Activation = &v1alpha1.Activation{Metric: metric, Replicas: scale.Spec.Replicas, Time: metav1.NewMicroTime(p.Now())}
	return &known, nil
}

// whileDisabled is all that is kept of the state of an HPA: one value for all.
var whileDisabled = []autoscalingv2.HorizontalPodAutoscalerCondition{
	{Type: autoscalingv2.ScalingActive, Reason: v1alpha1.ReasonScalingDisabled},
}
