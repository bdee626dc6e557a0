// Package scaledobject keeps the HPA of every ScaledObject in line with its
// spec.
package scaledobject

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/rules"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// recheck is how often an object is looked at again whose problem may end
// without an event, such as a target of a kind that is not watched.
const recheck = time.Minute

// readAgain is how often an object is read again that there was no room for, where
// there may be by now.
const readAgain = 5 * time.Minute

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
	// Selecting are the keys of the labels by which this installation selects
	// ScaledObjects, and HPAs with them.
	Selecting []string
	// Unasked is why HPAs are told nothing of external metrics, nil when they
	// are. nil of it never is.
	Unasked func() error
	// Room reports whether there may be room in a namespace for an object that
	// there was none for; nil never does.
	Room func(namespace string) bool
	Now  func() time.Time
}

// Reconcile brings one ScaledObject up to date.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	so := &v1alpha1.ScaledObject{}
	if err := r.Client.Get(ctx, request.NamespacedName, so); err != nil {
		if apierrors.IsNotFound(err) {
			r.Status.Gone(request.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, err
	}
	if !so.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.finalize(ctx, so)
	}
	switch err := r.claim(ctx, so); {
	case apierrors.IsNotFound(err): // deleted meanwhile
		return reconcile.Result{}, nil
	case err != nil:
		return r.report(ctx, so, status.Reconciled{}, fmt.Errorf("claim: %w", err))
	}
	if so.Paused() {
		return r.pause(ctx, so)
	}
	found, err := r.resolveTarget(ctx, so)
	invalid := so.Validate()
	if invalid != nil && kept.WantsRoom(so) && r.Room != nil && r.Room(so.Namespace) {
		// The status that says so is what has the cache read the object again.
		invalid = fmt.Errorf("%w; read again at %s", invalid, r.Now().UTC().Truncate(readAgain).Format(time.RFC3339))
	}
	found.Invalid = invalid != nil
	if err := errors.Join(invalid, err); err != nil {
		return r.report(ctx, so, found, err)
	}
	if err := rules.Rival(ctx, r.Client, so, *found.Target); err != nil {
		failed := r.deleteOwnHPAs(ctx, so)
		if failed == nil {
			found.HPA = ptr.To("")
		}
		return r.report(ctx, so, found, errors.Join(err, failed))
	}
	return r.syncHPA(ctx, so, found)
}

// claim puts the label on the object, and the finalizer where something is to be
// restored when it goes, in one write. Without that nothing holds an object back
// when no controller runs any more.
func (r *Reconciler) claim(ctx context.Context, so *v1alpha1.ScaledObject) error {
	var changed bool
	before := so.DeepCopy()
	if so.RestoresOriginalReplicas() {
		changed = controllerutil.AddFinalizer(so, v1alpha1.Finalizer)
	} else {
		changed = controllerutil.RemoveFinalizer(so, v1alpha1.Finalizer)
	}
	if so.Labels[v1alpha1.LabelScaledObjectName] != so.Name {
		if so.Labels == nil {
			so.Labels = map[string]string{}
		}
		so.Labels[v1alpha1.LabelScaledObjectName], changed = so.Name, true
	}
	if !changed {
		return nil
	}
	return r.Client.Patch(ctx, so, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// resolveTarget finds the workload and what of it goes into the status.
func (r *Reconciler) resolveTarget(ctx context.Context, so *v1alpha1.ScaledObject) (status.Reconciled, error) {
	t, err := r.Targets.Get(ctx, so)
	if err != nil {
		return status.Reconciled{}, fmt.Errorf("scaleTargetRef: %w", err)
	}
	// What is remembered of the target is not to keep all of it in memory.
	return status.Reconciled{Target: ptr.To(t.GVKR), Replicas: ptr.To(t.Replicas)}, nil
}

// syncHPA makes the live HPA the desired one. A trigger that cannot be served
// holds back nothing else: all that the user changed is applied now.
func (r *Reconciler) syncHPA(ctx context.Context, so *v1alpha1.ScaledObject, found status.Reconciled) (reconcile.Result, error) {
	live, others, err := r.liveHPAs(ctx, so)
	if err != nil {
		return r.report(ctx, so, found, fmt.Errorf("HPA: %w", err))
	}
	basis := live
	if basis == nil && len(others) > 0 {
		basis = others[0] // renamed: its metrics are as good as ever
	}
	if basis != nil && kept.Why(basis) != "" { // nobody knows what would change
		return r.report(ctx, so, found, fmt.Errorf("HPA: %s", kept.Why(basis)))
	}
	for _, problem := range so.AnnotationProblems() {
		found.Warnings = append(found.Warnings, problem.Error())
	}
	found.Warnings = append(found.Warnings, keptLabels(so, r.Selecting)...)
	found.Notes = so.Unused()
	fresh := r.Now().Sub(r.Status.Seen(so)) < status.FirstState
	built := build(so, basis, func(i int) (federation.State, bool) { return r.States(triggerID(so, i)) }, fresh)
	found.Warnings = append(found.Warnings, built.warnings...)
	if built.usable {
		desired := desiredHPA(so, *found.Target, built.metrics, r.Version, r.Selecting)
		if basis != nil && owns(so, basis) && basis.Spec.ScaleTargetRef != desired.Spec.ScaleTargetRef {
			r.Status.Retargeted(so)
		}
		if err := r.writeHPA(ctx, so, live, others, desired); err != nil {
			return r.report(ctx, so, found, fmt.Errorf("HPA: %w", err))
		}
		found.HPA = ptr.To(desired.Name)
		found.ExternalMetricNames, found.ResourceMetricNames = built.external, built.resource
	}
	if built.waiting {
		// The answer comes with a reconcile of its own; this is for the case
		// that it does not.
		return reconcile.Result{RequeueAfter: status.FirstState}, nil
	}
	problems := built.problems
	if r.Unasked != nil && len(built.external) > 0 {
		problems = append(problems, r.Unasked())
	}
	return r.report(ctx, so, found, errors.Join(problems...))
}

// liveHPAs are the HPA under the wanted name, nil when there is none, and those
// that the object made under other names.
func (r *Reconciler) liveHPAs(ctx context.Context, so *v1alpha1.ScaledObject) (live *autoscalingv2.HorizontalPodAutoscaler, others []*autoscalingv2.HorizontalPodAutoscaler, err error) {
	var owned autoscalingv2.HorizontalPodAutoscalerList
	err = r.Client.List(ctx, &owned, client.InNamespace(so.Namespace), client.MatchingFields{ByOwner: so.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, nil, err
	}
	for i := range owned.Items {
		switch hpa := &owned.Items[i]; {
		case hpa.Name == so.HPAName():
			live = hpa.DeepCopy()
		case hpa.DeletionTimestamp == nil && len(others) < mostOthers:
			others = append(others, hpa)
		}
	}
	if live != nil {
		return live, others, nil
	}
	live, err = r.foundHPA(ctx, r.Client, so)
	return live, others, err
}

// mostOthers is how many HPAs of an object are deleted at once: each that goes has
// the object looked at again.
const mostOthers = 20

// foundHPA is the HPA under the wanted name, made for the object or to be taken
// over by it; nil when there is none.
func (r *Reconciler) foundHPA(ctx context.Context, from client.Reader, so *v1alpha1.ScaledObject) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	found := &autoscalingv2.HorizontalPodAutoscaler{}
	err := from.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: so.HPAName()}, found)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return found, r.mayOwn(ctx, so, found)
}

// writeHPA creates or updates the HPA where needed. Others of the object go
// first: one target has one HPA.
func (r *Reconciler) writeHPA(
	ctx context.Context, so *v1alpha1.ScaledObject, live *autoscalingv2.HorizontalPodAutoscaler,
	others []*autoscalingv2.HorizontalPodAutoscaler, desired *autoscalingv2.HorizontalPodAutoscaler,
) error {
	for _, hpa := range others {
		if err := r.deleteHPA(ctx, hpa); err != nil {
			return err
		}
	}
	if live == nil {
		err := kept.Refusal(r.Client.Create(ctx, desired.DeepCopy()))
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// The cache does not show it yet, or never will.
		if live, err = r.foundHPA(ctx, r.Targets.Direct, so); live == nil || err != nil {
			return err
		}
	}
	nudges, _ := so.NudgesHPA() // what is no value of it is a warning
	merged := merge(live, desired, nudges)
	if merged == nil {
		return nil
	}
	err := kept.Refusal(r.Client.Update(ctx, merged))
	if apierrors.IsNotFound(err) { // the cache shows what is gone
		return kept.Refusal(r.Client.Create(ctx, desired.DeepCopy()))
	}
	return err
}

func (r *Reconciler) deleteHPA(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
	return client.IgnoreNotFound(r.Client.Delete(ctx, hpa, client.Preconditions{UID: &hpa.UID}))
}

// deleteHPAs deletes every HPA of the object, and none of anybody else.
func (r *Reconciler) deleteHPAs(ctx context.Context, so *v1alpha1.ScaledObject) error {
	live, others, err := r.liveHPAs(ctx, so)
	var foreign *ForeignHPAError
	switch {
	case errors.As(err, &foreign):
	case err != nil:
		return fmt.Errorf("HPA: %w", err)
	case live != nil:
		others = append(others, live)
	}
	return r.deleteEach(ctx, others)
}

// deleteOwnHPAs deletes the HPAs that were made for the object: none that it would
// take over.
func (r *Reconciler) deleteOwnHPAs(ctx context.Context, so *v1alpha1.ScaledObject) error {
	live, others, err := r.liveHPAs(ctx, so)
	if live != nil && owns(so, live) {
		others = append(others, live)
	}
	if foreign := (*ForeignHPAError)(nil); err != nil && !errors.As(err, &foreign) {
		return fmt.Errorf("HPA: %w", err)
	}
	return r.deleteEach(ctx, others)
}

func (r *Reconciler) deleteEach(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler) error {
	for _, hpa := range hpas {
		if err := r.deleteHPA(ctx, hpa); err != nil {
			return fmt.Errorf("HPA: %w", err)
		}
	}
	return nil
}

// report hands the outcome to the one writer of status, which merges it with
// the runtime verdict. The queue retries with back-off; no sleeping here.
func (r *Reconciler) report(ctx context.Context, so *v1alpha1.ScaledObject, found status.Reconciled, err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		// Somebody else was faster; the cache will show what they wrote.
		return reconcile.Result{}, err
	}
	found.Err = err
	held, writeErr := r.Status.Reconciled(ctx, so, found)
	switch {
	case writeErr != nil:
		return reconcile.Result{}, writeErr
	case held:
		return reconcile.Result{RequeueAfter: status.FirstState}, nil
	case retryable(err):
		return reconcile.Result{}, err
	case err != nil:
		return reconcile.Result{RequeueAfter: recheck}, nil //nolint:nilerr // the status tells it, and trying again soon would not help
	}
	return reconcile.Result{}, nil
}

// retryable reports whether trying again soon can help: the API server had a
// problem of its own. What a family or the user mends comes back as an event,
// or at the next recheck.
func retryable(err error) bool {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err)
	}
	var unreachable net.Error
	return errors.As(err, &unreachable)
}

func triggerID(so *v1alpha1.ScaledObject, index int) federation.ID {
	return federation.ID{Kind: scalerv1.KindScaledObject, Namespace: so.Namespace, Name: so.Name, Index: index}
}
