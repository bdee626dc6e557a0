package subscription

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// JobReconciler subscribes the triggers of one ScaledJob.
type JobReconciler struct {
	Client     client.Client
	Federation Federation
	// Told is what triggers may tell of variables; nil bounds nothing.
	Told *kept.Budget

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
	var again time.Duration
	if hold(r.Told, triggers) {
		r.book.unknown(request.NamespacedName)
	} else {
		again = lookAgain(r.book.couldNotRead(request.NamespacedName))
	}
	again = max(again, r.book.enter(r.Federation, request.NamespacedName, triggers))
	return reconcile.Result{RequeueAfter: again}, nil
}
