package cloudevents

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	cached "github.com/sluice-autoscaler/sluice/controller/kept"
)

// The reasons of condition Active.
const (
	reasonActive = "CloudEventSourceActive"
	reasonFailed = "CloudEventSourceFailed"
)

// standby is how often a process that does not lead looks whether it does, and
// a source without a sink whether there is room for it.
const standby = 30 * time.Second

// Reconciler keeps the sinks in line with sources of one kind.
type Reconciler struct {
	Client client.Client
	Sinks  *Sinks
	// New makes an empty source of the kind.
	New func() eventing.Source
	// Leads reports whether this process writes status.
	Leads func() bool
}

// Reconcile brings one source up to date.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	source := r.New()
	if err := r.Client.Get(ctx, request.NamespacedName, source); err != nil {
		if apierrors.IsNotFound(err) {
			r.Sinks.remove(request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !source.GetDeletionTimestamp().IsZero() {
		r.Sinks.remove(request.NamespacedName)
		return r.release(ctx, source)
	}
	err := r.put(request.NamespacedName, source) //nolint:contextcheck // a sink outlives the request
	if !r.Leads() {
		return reconcile.Result{RequeueAfter: standby}, nil
	}
	result := reconcile.Result{}
	if errors.Is(err, errTooMany) {
		result.RequeueAfter = standby
	}
	return result, r.report(ctx, source, err)
}

// put has a source's sink. One that there is no room for has none.
func (r *Reconciler) put(key types.NamespacedName, source eventing.Source) error {
	if why := cached.Why(source); why != "" {
		r.Sinks.remove(key)
		return errors.New(why)
	}
	return r.Sinks.put(key, edition{source.GetUID(), source.GetGeneration()}, *source.Wants())
}

// release lets a source go that KEDA has put its finalizer on: here nothing is
// to be done at its end.
func (r *Reconciler) release(ctx context.Context, source eventing.Source) (reconcile.Result, error) {
	if !r.Leads() {
		return reconcile.Result{RequeueAfter: standby}, nil
	}
	before := source.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	if !controllerutil.RemoveFinalizer(source, v1alpha1.Finalizer) {
		return reconcile.Result{}, nil
	}
	err := r.Client.Patch(ctx, source, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

// Defective writes into a source that a mistake of ours ended what was being
// done for it. The next reconcile takes it back.
func (r *Reconciler) Defective(ctx context.Context, key types.NamespacedName, defect error) error {
	source := r.New()
	if err := r.Client.Get(ctx, key, source); err != nil || !r.Leads() {
		return err
	}
	return r.report(ctx, source, defect)
}

// report writes condition Active when it changed.
func (r *Reconciler) report(ctx context.Context, source eventing.Source, failure error) error {
	active := v1alpha1.Condition{
		Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue, Reason: reasonActive, Message: "events are sent",
	}
	if failure != nil {
		active.Status, active.Reason, active.Message = metav1.ConditionFalse, reasonFailed, failure.Error()
	}
	before := source.DeepCopyObject().(client.Object)
	if !source.State().Conditions.Set(active) {
		return nil
	}
	return client.IgnoreNotFound(r.Client.Status().Patch(ctx, source, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
}
