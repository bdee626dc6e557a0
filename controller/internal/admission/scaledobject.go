package admission

import (
	"context"
	"errors"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// The reasons of refusals, KEDA's labels. reasonMetadata is ours: KEDA does not
// look at metadata.
const (
	reasonOtherScaledObject    = "other-scaled-object"
	reasonOtherScaledObjectHPA = "other-scaled-object-hpa"
	reasonModifiers            = "scaling-modifiers"
	reasonModifiersFallback    = "scaling-modifiers-fallback"
	reasonTransferWithoutName  = "transfer-ownership-missing-hpa-name"
	reasonOtherHPA             = "other-hpa"
	reasonRequests             = "missing-requests"
	reasonScaleToZero          = "scale-to-zero-requirements-not-met"
	reasonReplicas             = "incorrect-replicas"
	reasonFallback             = "incorrect-fallback"
	reasonName                 = "name-too-long"
	reasonHPAName              = "hpa-name-too-long"
	reasonTriggers             = "incorrect-triggers"
	reasonTarget               = "incorrect-scale-target"
	reasonMetadata             = "incorrect-trigger-metadata"
)

// longestLabel is what a label's value may have: the object's name and its
// HPA's become some.
const longestLabel = 63

// sameScaledObject reports whether all that rules look at is equal.
func sameScaledObject(a, b *v1alpha1.ScaledObject) bool {
	return apiequality.Semantic.DeepEqual(a.Spec, b.Spec) && transfersHPA(a) == transfersHPA(b)
}

// scaledObject applies all rules, always in this order.
func (w *Webhook) scaledObject(ctx context.Context, r review[*v1alpha1.ScaledObject]) verdict {
	so := r.object
	var v verdict
	v.unused(so)
	w.target(so, &v)
	w.otherObjects(ctx, so, &v)
	v.modifiers(so)
	w.otherHPAs(ctx, so, &v)
	if !r.dryRun { // a target of the same dry run is not stored
		w.resources(ctx, so, &v)
	}
	v.refuse(reasonReplicas, so.ValidateReplicas())
	v.refuse(reasonFallback, so.ValidateFallback())
	v.names(so)
	v.refuse(reasonTriggers, v1alpha1.ValidateTriggerList(so.Spec.Triggers))
	if r.create || !apiequality.Semantic.DeepEqual(so.Spec.Triggers, r.old.Spec.Triggers) {
		w.triggers(so.Spec.Triggers, v1alpha1.ScaleTrigger.ValidateMetricType, &v)
	}
	w.Counts.judged(so.Namespace, r.action(), v.refusals)
	return v
}

// unused warns of settings that only matter between zero or idle and one.
func (v *verdict) unused(so *v1alpha1.ScaledObject) {
	lo := so.MinReplicas()
	if lo == 0 || so.Spec.IdleReplicaCount != nil {
		return
	}
	cached := false
	for _, t := range so.Spec.Triggers {
		cached = cached || t.UseCachedMetrics
	}
	if so.Spec.PollingInterval != nil && !cached {
		v.notes = append(v.notes, fmt.Sprintf(
			"pollingInterval: has no effect with minReplicaCount %d, without idleReplicaCount and without a trigger that has useCachedMetrics", lo))
	}
	if so.Spec.CooldownPeriod != nil {
		v.notes = append(v.notes, fmt.Sprintf("cooldownPeriod: has no effect with minReplicaCount %d and without idleReplicaCount", lo))
	}
	v.warnings = append(v.warnings, v.notes...)
}

// target refuses a kind that cannot exist.
func (w *Webhook) target(so *v1alpha1.ScaledObject, v *verdict) {
	if _, err := w.Resolve(so.Spec.ScaleTargetRef); err != nil {
		v.refuse(reasonTarget, fmt.Errorf("scaleTargetRef: %w", err))
	}
}

func (v *verdict) modifiers(so *v1alpha1.ScaledObject) {
	v.refuse(reasonModifiers, so.ValidateModifiers())
	if m := so.Modifiers(); m != nil && m.Formula != "" {
		_, err := scaling.CompileFormula(m.Formula, scaling.FormulaNames(so))
		v.refuse(reasonModifiers, err)
	}
	v.refuse(reasonModifiersFallback, so.ValidateFallbackBehavior())
}

func (v *verdict) names(so *v1alpha1.ScaledObject) {
	if n := len(so.Name); n > longestLabel {
		v.refuse(reasonName, fmt.Errorf("metadata.name: has %d characters, of %d that a label's value may have", n, longestLabel))
	}
	if n := len(so.HPAName()); n > longestLabel {
		v.refuse(reasonHPAName, fmt.Errorf(
			"the HPA's name %q has %d characters, of %d that a label's value may have: shorten metadata.name or set advanced.horizontalPodAutoscalerConfig.name",
			so.HPAName(), n, longestLabel))
	}
}

// onlyBuiltinsToZero says what is wrong with going to zero on cpu and memory.
func onlyBuiltinsToZero(so *v1alpha1.ScaledObject) error {
	if so.OnlyBuiltins() && so.MinReplicas() == 0 {
		return errors.New("minReplicaCount: cpu and memory alone cannot scale from zero, at least 1 is needed")
	}
	return nil
}
