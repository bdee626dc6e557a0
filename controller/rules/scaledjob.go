package rules

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// ReasonJob is the label of what is wrong with a ScaledJob beside its triggers
// and its bounds.
const ReasonJob = "incorrect-job"

// ScaledJob applies the rules that KEDA has for ScaledJobs, and those without
// which no Job can be made.
func (j *Judge) ScaledJob(ctx context.Context, r Review[*v1alpha1.ScaledJob]) Verdict {
	sj := r.Object
	var v Verdict
	if j.Limits.CutScaledJob(sj); sj.Spec.Exceeds != "" {
		v.refuse(ReasonLimits, sj.Validate()) // nothing else is looked at
		return v
	}
	ctx, end := j.within(ctx, sj.Namespace, &v)
	defer end()
	v.refuse(ReasonReplicas, sj.ValidateReplicas())
	v.refuse(ReasonTriggers, sj.ValidateTriggers())
	v.refuse(ReasonJob, sj.Validate()) // the rest of it
	if r.Create || !apiequality.Semantic.DeepEqual(sj.Spec.Triggers, r.Old.Spec.Triggers) {
		j.triggers(ctx, sj.Spec.Triggers, federation.TriggersOfJob(sj), func(v1alpha1.ScaleTrigger) error { return nil }, &v)
	}
	if !r.Create && sj.Spec.RolloutStrategy == "" && sj.Spec.Rollout.Strategy == "" {
		v.warn("rollout.strategy: not given, so Jobs of the earlier spec run to their end; KEDA would delete them, as strategy immediate does here")
	}
	return v
}
