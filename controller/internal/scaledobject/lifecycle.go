package scaledobject

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
)

// pause stops scaling: the condition first, so that nobody scales meanwhile,
// then the HPA, then the replicas that the user asked for. Every step may be
// repeated.
func (r *Reconciler) pause(ctx context.Context, so *v1alpha1.ScaledObject) (reconcile.Result, error) {
	if !so.Status.Conditions.IsTrue(v1alpha1.ConditionPaused) {
		if err := r.Status.Reconciled(ctx, so, status.Reconciled{HPAName: so.Status.HpaName, Paused: true}); err != nil {
			return reconcile.Result{}, err
		}
	}
	found := status.Reconciled{Paused: true}
	for _, name := range []string{so.Status.HpaName, so.HPAName()} {
		if name == "" {
			continue
		}
		if err := r.deleteHPA(ctx, so, name); err != nil {
			return r.report(ctx, so, found, fmt.Errorf("HPA: %w", err))
		}
	}
	count, err := so.PausedReplicas()
	if err == nil && count != nil {
		found.PausedReplicas = count
		err = r.scaleTo(ctx, so, *count)
	}
	return r.report(ctx, so, found, err)
}

func (r *Reconciler) scaleTo(ctx context.Context, so *v1alpha1.ScaledObject, replicas int32) error {
	t, err := r.Targets.Get(ctx, so)
	if err != nil {
		return fmt.Errorf("scaleTargetRef: %w", err)
	}
	if t.Replicas == replicas {
		return nil
	}
	return r.Targets.Scale(ctx, t, replicas)
}

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
	if err := client.IgnoreNotFound(err); err != nil {
		return err
	}
	r.Status.Deleted(so)
	return nil
}

func (r *Reconciler) restore(ctx context.Context, so *v1alpha1.ScaledObject) error {
	name := so.Status.HpaName
	if name == "" {
		name = so.HPAName()
	}
	if err := r.deleteHPA(ctx, so, name); err != nil {
		return fmt.Errorf("HPA: %w", err)
	}
	err := r.scaleTo(ctx, so, *so.Status.OriginalReplicaCount)
	var missing *target.MissingError
	switch {
	case err == nil, errors.As(err, &missing):
		return nil
	case apierrors.IsConflict(err):
		return err
	}
	log.FromContext(ctx).Error(err, "target not restored to its original replicas",
		"scaledObject", types.NamespacedName{Namespace: so.Namespace, Name: so.Name})
	return nil
}
