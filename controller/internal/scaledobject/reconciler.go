// Package scaledobject keeps the HPA of every ScaledObject in line with its
// spec.
package scaledobject

import (
	"context"
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
)

// firstAnswer is how long a family may take to answer a new trigger before the
// object says that it waits.
const firstAnswer = 2 * time.Second

// recheck is how often an object is looked at again whose problem may end
// without an event, such as a target of a kind that is not watched.
const recheck = time.Minute

// Reconciler keeps the HPA of one ScaledObject in line with its spec. It knows
// nothing about queues or brokers: the families answer for those, and it never
// waits for them.
type Reconciler struct {
	Client  client.Client
	Targets *target.Client
	Status  *status.Writer
	// States answers from memory what families said about a trigger.
	States func(federation.ID) (federation.State, bool)
	// Version of the controller, for the HPA's labels.
	Version string
	Now     func() time.Time
}

// Reconcile brings one ScaledObject up to date.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	so := &v1alpha1.ScaledObject{}
	if err := r.Client.Get(ctx, request.NamespacedName, so); err != nil {
		if apierrors.IsNotFound(err) {
			r.Status.Forget(request.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, err
	}
	if !so.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.finalize(ctx, so)
	}
	if err := r.claim(ctx, so); err != nil {
		return r.report(ctx, so, status.Reconciled{}, fmt.Errorf("claim: %w", err))
	}
	if so.Paused() {
		return r.pause(ctx, so)
	}
	found, err := r.resolveTarget(ctx, so)
	if err != nil {
		return r.report(ctx, so, found, err)
	}
	if err := so.Validate(); err != nil {
		return r.report(ctx, so, found, err)
	}
	return r.syncHPA(ctx, so, found)
}

// claim puts finalizer and label on the object, in one write.
func (r *Reconciler) claim(ctx context.Context, so *v1alpha1.ScaledObject) error {
	before := so.DeepCopy()
	controllerutil.AddFinalizer(so, v1alpha1.Finalizer)
	if so.Labels[v1alpha1.LabelScaledObjectName] != so.Name {
		if so.Labels == nil {
			so.Labels = map[string]string{}
		}
		so.Labels[v1alpha1.LabelScaledObjectName] = so.Name
	} else if len(before.Finalizers) == len(so.Finalizers) {
		return nil
	}
	return r.Client.Patch(ctx, so, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// resolveTarget finds the workload and what of it goes into the status.
func (r *Reconciler) resolveTarget(ctx context.Context, so *v1alpha1.ScaledObject) (status.Reconciled, error) {
	t, err := r.Targets.Get(ctx, so)
	found := status.Reconciled{HPAName: so.Status.HpaName}
	if err != nil {
		return found, fmt.Errorf("scaleTargetRef: %w", err)
	}
	found.Target = &t.GVKR
	found.Replicas = &t.Replicas
	return found, nil
}

// syncHPA makes the live HPA the desired one. What a family cannot tell keeps
// its place in the live HPA; everything else the user changed is applied now.
func (r *Reconciler) syncHPA(ctx context.Context, so *v1alpha1.ScaledObject, found status.Reconciled) (reconcile.Result, error) {
	live, err := r.liveHPA(ctx, so)
	if err != nil {
		return r.report(ctx, so, found, fmt.Errorf("HPA: %w", err))
	}
	built := build(so, live, func(i int) (federation.State, bool) { return r.States(triggerID(so, i)) })
	if built.waiting && r.Now().Sub(r.Status.Seen(so)) < firstAnswer {
		// The answer comes with a reconcile of its own; this is for the case
		// that it does not.
		return reconcile.Result{RequeueAfter: firstAnswer}, nil
	}
	if built.usable {
		name, err := r.writeHPA(ctx, live, desiredHPA(so, *found.Target, built.metrics, r.Version))
		if err != nil {
			return r.report(ctx, so, found, fmt.Errorf("HPA: %w", err))
		}
		found.HPAName = name
		found.ExternalMetricNames, found.ResourceMetricNames = built.external, built.resource
	}
	return r.report(ctx, so, found, errors.Join(built.problems...))
}

// liveHPA is the HPA under the wanted name, nil when there is none. One under
// an earlier name is deleted: the object has one HPA.
func (r *Reconciler) liveHPA(ctx context.Context, so *v1alpha1.ScaledObject) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	if old := so.Status.HpaName; old != "" && old != so.HPAName() {
		if err := r.deleteHPA(ctx, so, old); err != nil {
			return nil, err
		}
	}
	live := &autoscalingv2.HorizontalPodAutoscaler{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: so.HPAName()}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return live, mayOwn(so, live)
}

// writeHPA creates or updates the HPA where needed and returns its name.
func (r *Reconciler) writeHPA(ctx context.Context, live, desired *autoscalingv2.HorizontalPodAutoscaler) (string, error) {
	if live == nil {
		return desired.Name, r.Client.Create(ctx, desired)
	}
	merged := merge(live, desired)
	if merged == nil {
		return desired.Name, nil
	}
	return desired.Name, r.Client.Update(ctx, merged)
}

// deleteHPA deletes an HPA if it is the object's own.
func (r *Reconciler) deleteHPA(ctx context.Context, so *v1alpha1.ScaledObject, name string) error {
	live := &autoscalingv2.HorizontalPodAutoscaler{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: name}, live)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if mayOwn(so, live) != nil {
		return nil
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, live))
}

// report hands the outcome to the one writer of status, which merges it with
// the runtime verdict. The queue retries with back-off; no sleeping here.
func (r *Reconciler) report(ctx context.Context, so *v1alpha1.ScaledObject, found status.Reconciled, err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		// Somebody else was faster; the cache will show what they wrote.
		return reconcile.Result{}, err
	}
	found.Err = err
	if writeErr := r.Status.Reconciled(ctx, so, found); writeErr != nil {
		return reconcile.Result{}, writeErr
	}
	switch {
	case retryable(err):
		return reconcile.Result{}, err
	case err != nil:
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	return reconcile.Result{}, nil
}

// retryable reports whether trying again soon can help. What a family or the
// user mends comes back as an event of its own.
func retryable(err error) bool {
	var apiStatus apierrors.APIStatus
	return errors.As(err, &apiStatus)
}

func triggerID(so *v1alpha1.ScaledObject, index int) federation.ID {
	return federation.ID{Kind: "ScaledObject", Namespace: so.Namespace, Name: so.Name, Index: index}
}
