package rules

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// The reasons of refusals, KEDA's labels. ReasonLimits and ReasonMetadata are
// ours.
const (
	ReasonOtherScaledObject    = "other-scaled-object"
	ReasonOtherScaledObjectHPA = "other-scaled-object-hpa"
	ReasonModifiers            = "scaling-modifiers"
	ReasonModifiersFallback    = "scaling-modifiers-fallback"
	ReasonTransferWithoutName  = "transfer-ownership-missing-hpa-name"
	ReasonOtherHPA             = "other-hpa"
	ReasonRequests             = "missing-requests"
	ReasonScaleToZero          = "scale-to-zero-requirements-not-met"
	ReasonReplicas             = "incorrect-replicas"
	ReasonFallback             = "incorrect-fallback"
	ReasonName                 = "name-too-long"
	ReasonHPAName              = "hpa-name-too-long"
	ReasonTriggers             = "incorrect-triggers"
	ReasonTarget               = "incorrect-scale-target"
	ReasonLimits               = "limits"
	ReasonMetadata             = "incorrect-trigger-metadata"
)

// SameScaledObject reports whether all that rules look at is equal.
func SameScaledObject(a, b *v1alpha1.ScaledObject) bool {
	return apiequality.Semantic.DeepEqual(a.Spec, b.Spec) && transfersHPA(a) == transfersHPA(b)
}

// ScaledObject applies all rules, always in this order.
func (j *Judge) ScaledObject(ctx context.Context, r Review[*v1alpha1.ScaledObject]) Verdict {
	so := r.Object
	var v Verdict
	if j.Limits.CutScaledObject(so); so.Spec.Exceeds != "" {
		v.refuse(ReasonLimits, so.Validate()) // nothing else is looked at
		return v
	}
	ctx, end := j.within(ctx, so.Namespace, &v)
	defer end()
	v.Warnings = append(v.Warnings, so.Unused()...)
	v.idle(so)
	kind := j.target(ctx, so, &v)
	rivals := j.otherObjects(ctx, so, kind, &v)
	v.modifiers(so)
	j.otherHPAs(ctx, so, kind, rivals, &v)
	if !r.DryRun { // a target of the same dry run is not stored
		j.resources(ctx, so, kind, &v)
	}
	v.refuse(ReasonReplicas, so.ValidateReplicas())
	v.refuse(ReasonFallback, so.ValidateFallback())
	v.names(so)
	v.refuse(ReasonTriggers, v1alpha1.ValidateTriggerList(so.Spec.Triggers))
	if r.Create || !apiequality.Semantic.DeepEqual(so.Spec.Triggers, r.Old.Spec.Triggers) {
		j.triggers(ctx, so.Spec.Triggers, federation.TriggersOf(so, federation.Workload{}), v1alpha1.ScaleTrigger.ValidateMetricType, &v)
	}
	return v
}

// target returns the kind of the target, and refuses one that does not exist. One
// that cannot be scaled may be changed before the target is looked for.
func (j *Judge) target(ctx context.Context, so *v1alpha1.ScaledObject, v *Verdict) v1alpha1.GroupVersionKindResource {
	kind, err := j.Targets.Kind(so)
	switch {
	case err == nil:
		if err := j.granted(ctx, kind, so.Namespace); err != nil {
			v.warn("scaleTargetRef: %v", err)
		}
		return kind
	case nowhere(err):
		v.refuse(ReasonTarget, fmt.Errorf("scaleTargetRef: %w", err))
	default:
		v.warn("scaleTargetRef: %v", err)
	}
	given := so.TargetKind()
	return v1alpha1.GroupVersionKindResource{Group: given.Group, Version: given.Version, Kind: given.Kind}
}

// nowhere reports whether a reference is to a kind that is none, as opposed to
// one that could not be looked up.
func nowhere(err error) bool {
	var unparsable *kinds.UnparsableError
	var unknown *kinds.UnknownKindError
	return errors.As(err, &unparsable) || errors.As(err, &unknown)
}

// granted asks what the controller may, for a moment at most.
func (j *Judge) granted(ctx context.Context, kind v1alpha1.GroupVersionKindResource, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return j.Targets.Granted(ctx, kind, namespace)
}

func (v *Verdict) modifiers(so *v1alpha1.ScaledObject) {
	v.refuse(ReasonModifiers, so.ValidateModifiers())
	if m := so.Modifiers(); m != nil && m.Formula != "" {
		_, err := scaling.FormulaOf(so)
		v.refuse(ReasonModifiers, err)
	}
	v.refuse(ReasonModifiersFallback, so.ValidateFallbackBehavior())
}

func (v *Verdict) names(so *v1alpha1.ScaledObject) {
	if n := len(so.Name); n > v1alpha1.LongestLabel {
		v.refuse(ReasonName, fmt.Errorf("metadata.name: has %d characters, of %d that a label's value may have", n, v1alpha1.LongestLabel))
		return
	}
	name := so.HPAName()
	switch n := len(name); {
	case n > v1alpha1.LongestLabel:
		v.refuse(ReasonHPAName, fmt.Errorf(
			"the HPA's name %q has %d characters, of %d that a label's value may have: shorten advanced.horizontalPodAutoscalerConfig.name",
			name, n, v1alpha1.LongestLabel))
	case so.GivenHPAName() == "" && !strings.HasSuffix(name, "-"+so.Name):
		v.warn("metadata.name: has %d characters, so the HPA is called %s; advanced.horizontalPodAutoscalerConfig.name gives it another name",
			len(so.Name), name)
	}
}

// idle warns of an idle count that cpu and memory cannot keep a target from.
func (v *Verdict) idle(so *v1alpha1.ScaledObject) {
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
