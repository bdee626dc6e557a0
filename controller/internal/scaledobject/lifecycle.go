package scaledobject

import (
	"context"
	"errors"
	"time"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// pause stops scaling: the condition first, so that everybody knows, then the
// HPA. The replicas that the user asked for are the activation loop's to write;
// here is said when that cannot work. Every step may be repeated.
func (r *Reconciler) pause(ctx context.Context, so *v1alpha1.ScaledObject) (reconcile.Result, error) {
	found := status.Reconciled{Paused: true}
	if !so.Status.Conditions.IsTrue(v1alpha1.ConditionPaused) {
		if _, err := r.Status.Reconciled(ctx, so, found); err != nil {
			return reconcile.Result{}, err
		}
	}
	if err := r.deleteHPAs(ctx, so); err != nil {
		return r.report(ctx, so, found, err)
	}
	found.HPA = ptr.To("")
	count, err := so.PausedReplicas()
	if found.PausedReplicas = count; count != nil {
		_, err = r.resolveTarget(ctx, so)
	}
	return r.report(ctx, so, found, err)
}

// restorePatience is how long a deleted object waits for an API server that
// will not let its target be restored.
const restorePatience = time.Minute

// finalize lets a deleted object go. With restoreToOriginalReplicaCount the
// HPA goes first, so that it cannot scale the target again; a target that
// cannot be restored does not hold the object back.
func (r *Reconciler) finalize(ctx context.Context, so *v1alpha1.ScaledObject) error {
	if !controllerutil.ContainsFinalizer(so, v1alpha1.Finalizer) {
		return nil
	}
	if so.RestoresOriginalReplicas() && so.Status.OriginalReplicaCount != nil {
		if err := r.restore(ctx, so); err != nil {
			return err
		}
	}
	before := so.DeepCopy()
	controllerutil.RemoveFinalizer(so, v1alpha1.Finalizer)
	err := r.Client.Patch(ctx, so, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	r.Status.Deleted(so)
	return nil
}

// restore puts the target back to its first replica count, unless another
// ScaledObject has it.
func (r *Reconciler) restore(ctx context.Context, so *v1alpha1.ScaledObject) error {
	err := r.deleteHPAs(ctx, so)
	if kind := so.Status.ScaleTargetGVKR; err == nil && kind != nil {
		err = rules.Rival(ctx, r.Client, so, *kind)
		if rival := (*rules.RivalError)(nil); errors.As(err, &rival) {
			return nil
		}
	}
	if err == nil {
		err = r.scaleTo(ctx, so, *so.Status.OriginalReplicaCount)
	}
	var missing *target.MissingError
	switch {
	case err == nil, errors.As(err, &missing):
		return nil
	case retryable(err) && r.Now().Sub(so.DeletionTimestamp.Time) < restorePatience:
		return err
	}
	log.FromContext(ctx).Error(err, "target not restored to its original replicas",
		"scaledObject", client.ObjectKeyFromObject(so))
	return nil
}

func (r *Reconciler) scaleTo(ctx context.Context, so *v1alpha1.ScaledObject, replicas int32) error {
	t, err := r.Targets.Get(ctx, so)
	if err != nil || t.Replicas == replicas {
		return err
	}
	return r.Targets.Scale(ctx, t, replicas)
}
