package admission

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// reasonJob is the label of what is wrong with a ScaledJob beside its triggers
// and its bounds.
const reasonJob = "incorrect-job"

// scaledJob applies the rules that KEDA has for ScaledJobs, and those without
// which no Job can be made. As in KEDA, refusals are counted with those of
// ScaledObjects, and validations are not.
func (w *Webhook) scaledJob(ctx context.Context, r review[*v1alpha1.ScaledJob]) verdict {
	sj := r.object
	var v verdict
	if w.Limits.CutScaledJob(sj); sj.Spec.Exceeds != "" {
		v.refuse(reasonLimits, sj.Validate()) // nothing else is looked at
		w.Counts.refused(sj.Namespace, r.action(), v.refusals)
		return v
	}
	ctx, end := w.patiently(ctx, sj.Namespace, &v)
	defer end()
	v.refuse(reasonReplicas, sj.ValidateReplicas())
	v.refuse(reasonTriggers, sj.ValidateTriggers())
	v.refuse(reasonJob, sj.Validate()) // the rest of it
	if r.create || !apiequality.Semantic.DeepEqual(sj.Spec.Triggers, r.old.Spec.Triggers) {
		w.triggers(ctx, sj.Spec.Triggers, federation.TriggersOfJob(sj), func(v1alpha1.ScaleTrigger) error { return nil }, &v)
	}
	if !r.create && sj.Spec.RolloutStrategy == "" && sj.Spec.Rollout.Strategy == "" {
		v.warn("rollout.strategy: not given, so Jobs of the earlier spec run to their end; KEDA would delete them, as strategy immediate does here")
	}
	w.Counts.refused(sj.Namespace, r.action(), v.refusals)
	return v
}
