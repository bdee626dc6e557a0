package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// The reasons of refusals, KEDA's labels. reasonLimits and reasonMetadata are
// ours.
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
	reasonLimits               = "limits"
	reasonMetadata             = "incorrect-trigger-metadata"
)

// sameScaledObject reports whether all that rules look at is equal.
func sameScaledObject(a, b *v1alpha1.ScaledObject) bool {
	return apiequality.Semantic.DeepEqual(a.Spec, b.Spec) && transfersHPA(a) == transfersHPA(b)
}

// scaledObject applies all rules, always in this order.
func (w *Webhook) scaledObject(ctx context.Context, r review[*v1alpha1.ScaledObject]) verdict {
	so := r.object
	var v verdict
	if w.Limits.CutScaledObject(so); so.Spec.Exceeds != "" {
		v.refuse(reasonLimits, so.Validate()) // nothing else is looked at
		w.Counts.judged(so.Namespace, r.action(), v.refusals)
		return v
	}
	ctx, end := w.patiently(ctx, so.Namespace, &v)
	defer end()
	v.warnings = append(v.warnings, so.Unused()...)
	v.idle(so)
	kind := w.target(ctx, so, &v)
	rivals := w.otherObjects(ctx, so, kind, &v)
	v.modifiers(so)
	w.otherHPAs(ctx, so, kind, rivals, &v)
	if !r.dryRun { // a target of the same dry run is not stored
		w.resources(ctx, so, kind, &v)
	}
	v.refuse(reasonReplicas, so.ValidateReplicas())
	v.refuse(reasonFallback, so.ValidateFallback())
	v.names(so)
	v.refuse(reasonTriggers, v1alpha1.ValidateTriggerList(so.Spec.Triggers))
	if r.create || !apiequality.Semantic.DeepEqual(so.Spec.Triggers, r.old.Spec.Triggers) {
		w.triggers(ctx, so.Spec.Triggers, federation.TriggersOf(so, federation.Workload{}), v1alpha1.ScaleTrigger.ValidateMetricType, &v)
	}
	w.Counts.judged(so.Namespace, r.action(), v.refusals)
	return v
}

// target returns the kind of the target, and refuses one that does not exist. One
// that cannot be scaled may be changed before the target is looked for.
func (w *Webhook) target(ctx context.Context, so *v1alpha1.ScaledObject, v *verdict) v1alpha1.GroupVersionKindResource {
	kind, err := w.Targets.Resolve(so.Spec.ScaleTargetRef)
	switch {
	case err == nil:
		if err := w.granted(ctx, kind, so.Namespace); err != nil {
			v.warn("scaleTargetRef: %v", err)
		}
		return kind
	case nowhere(err):
		v.refuse(reasonTarget, fmt.Errorf("scaleTargetRef: %w", err))
	default:
		v.warn("scaleTargetRef: %v", err)
	}
	given := so.TargetKind()
	return v1alpha1.GroupVersionKindResource{Group: given.Group, Version: given.Version, Kind: given.Kind}
}

// nowhere reports whether a reference is to a kind that is none, as opposed to
// one that could not be looked up.
func nowhere(err error) bool {
	var unparsable *target.UnparsableError
	var unknown *target.UnknownKindError
	return errors.As(err, &unparsable) || errors.As(err, &unknown)
}

// granted asks what the controller may, for a moment at most.
func (w *Webhook) granted(ctx context.Context, kind v1alpha1.GroupVersionKindResource, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.Targets.Granted(ctx, kind, namespace)
}

func (v *verdict) modifiers(so *v1alpha1.ScaledObject) {
	v.refuse(reasonModifiers, so.ValidateModifiers())
	if m := so.Modifiers(); m != nil && m.Formula != "" {
		_, err := scaling.FormulaOf(so)
		v.refuse(reasonModifiers, err)
	}
	v.refuse(reasonModifiersFallback, so.ValidateFallbackBehavior())
}

func (v *verdict) names(so *v1alpha1.ScaledObject) {
	if n := len(so.Name); n > v1alpha1.LongestLabel {
		v.refuse(reasonName, fmt.Errorf("metadata.name: has %d characters, of %d that a label's value may have", n, v1alpha1.LongestLabel))
		return
	}
	name := so.HPAName()
	switch n := len(name); {
	case n > v1alpha1.LongestLabel:
		v.refuse(reasonHPAName, fmt.Errorf(
			"the HPA's name %q has %d characters, of %d that a label's value may have: shorten advanced.horizontalPodAutoscalerConfig.name",
			name, n, v1alpha1.LongestLabel))
	case so.GivenHPAName() == "" && !strings.HasSuffix(name, "-"+so.Name):
		v.warn("metadata.name: has %d characters, so the HPA is called %s; advanced.horizontalPodAutoscalerConfig.name gives it another name",
			len(so.Name), name)
	}
}

// idle warns of an idle count that cpu and memory cannot keep a target from.
func (v *verdict) idle(so *v1alpha1.ScaledObject) {
	if builtins := builtinsOf(so); so.Spec.IdleReplicaCount != nil && len(builtins) > 0 && !so.OnlyBuiltins() {
		v.warn("idleReplicaCount: %d: %s cannot keep the target up, it goes there when no other trigger is active",
			*so.Spec.IdleReplicaCount, resourceNames(builtins))
	}
}

// onlyBuiltinsToZero says what is wrong with going to zero on cpu and memory.
func onlyBuiltinsToZero(so *v1alpha1.ScaledObject) error {
	if so.OnlyBuiltins() && so.MinReplicas() == 0 {
		return errors.New("minReplicaCount: cpu and memory alone cannot scale from zero, at least 1 is needed")
	}
	return nil
}
