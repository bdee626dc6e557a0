package subscription

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// JobReconciler subscribes the triggers of one ScaledJob.
type JobReconciler struct {
	Client     client.Client
	Federation Federation

	book book
}

// Reconcile makes the subscriptions of one object those of its triggers. A
// paused object has none.
func (r *JobReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	sj := &v1alpha1.ScaledJob{}
	err := r.Client.Get(ctx, request.NamespacedName, sj)
	var triggers []federation.Trigger
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return reconcile.Result{}, err
	case !sj.Paused() && sj.DeletionTimestamp.IsZero():
		triggers = federation.TriggersOfJob(sj)
	}
	again := r.book.enter(r.Federation, request.NamespacedName, triggers)
	return reconcile.Result{RequeueAfter: again}, nil
}
