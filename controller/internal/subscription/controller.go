// Package subscription tells the families which triggers there are. It runs on
// every replica of the controller, leader or not, so that a new leader knows
// at once what all sources say.
package subscription

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Federation is what the reconciler needs of it.
type Federation interface {
	Subscribe(federation.Trigger) (kept bool)
	Unsubscribe(federation.ID)
}

// Reconciler subscribes the triggers of one ScaledObject.
type Reconciler struct {
	Client     client.Client
	Targets    *target.Client
	Federation Federation
	// Told is what triggers may tell of variables; nil bounds nothing.
	Told *kept.Budget

	book book
}

// Reconcile makes the subscriptions of one object those of its triggers. A
// paused object has none: its sources are left alone.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	so := &v1alpha1.ScaledObject{}
	err := r.Client.Get(ctx, request.NamespacedName, so)
	switch {
	case apierrors.IsNotFound(err):
		r.book.enter(r.Federation, request.NamespacedName, nil)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, err
	case so.Paused() || !so.DeletionTimestamp.IsZero():
		r.book.enter(r.Federation, request.NamespacedName, nil)
		return reconcile.Result{}, nil
	}
	workload, err := r.workload(ctx, so)
	var again time.Duration
	if err != nil || workload.NoRoom {
		again = lookAgain(r.book.couldNotRead(request.NamespacedName))
	}
	if err != nil && r.book.reads(request.NamespacedName, so.Spec.ScaleTargetRef) {
		return reconcile.Result{RequeueAfter: again}, nil // the reconciler says why
	}
	triggers := federation.TriggersOf(so, workload.Workload)
	if !hold(r.Told, triggers) && again == 0 {
		again = lookAgain(r.book.couldNotRead(request.NamespacedName))
	}
	refused := r.book.enter(r.Federation, request.NamespacedName, triggers)
	return reconcile.Result{RequeueAfter: max(again, refused)}, nil
}

// hold counts what triggers tell of variables and reports whether there is room
// for all of it.
func hold(told *kept.Budget, triggers []federation.Trigger) bool {
	all := true
	for i := range triggers {
		all = triggers[i].Hold(told) && all
	}
	return all
}

// read is what triggers may know of a target.
type read struct {
	federation.Workload
	// NoRoom is true where the template is not known, as it may be later.
	NoRoom bool
}

// workload reads what triggers may know of the target. While one cannot be read
// that was read before, as the error says, the object's subscriptions are left as
// they are, so that nothing is asked without its variables: nothing of the target
// is kept for that. One that never was read, or does not exist, is taken for one
// at zero: sources are asked all the same, and nothing is scaled by it.
func (r *Reconciler) workload(ctx context.Context, so *v1alpha1.ScaledObject) (read, error) {
	key := client.ObjectKeyFromObject(so)
	t, err := r.Targets.Whole(ctx, so)
	var missing *target.MissingError
	switch {
	case errors.As(err, &missing):
		r.book.unknown(key)
		return read{Workload: federation.Workload{Mode: federation.Idle}}, nil
	case err != nil:
		return read{Workload: federation.Workload{Mode: federation.Idle}}, err
	}
	template := t.Template()
	r.book.read(key, so.Spec.ScaleTargetRef)
	return read{federation.Workload{
		Mode: mode(so, t.Replicas), ServiceAccount: federation.ServiceAccountOf(template), Template: template, Unread: t.Unread(),
	}, t.NoRoom()}, nil
}

// lookAgain is when an object is looked at again whose target could not be read, or
// whose triggers were not taken, where there are so many of its namespace.
func lookAgain(objects int) time.Duration {
	return unreadAgain * time.Duration(max(objects/unreadAtOnce, 1))
}

// A namespace has so many of its objects looked at again within unreadAgain.
const (
	unreadAgain  = 15 * time.Second
	unreadAtOnce = 300
)

func mode(so *v1alpha1.ScaledObject, replicas int32) federation.Mode {
	if scaling.AtRest(so, replicas) {
		return federation.Idle
	}
	return federation.Active
}
