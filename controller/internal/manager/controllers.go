package manager

import (
	"context"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledobject"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

func index(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, scaledobject.ByOwner, scaledobject.OwnerOf)
	if err != nil {
		return err
	}
	// Their ScaledJobs are not looked at before all of them are there.
	if _, err := mgr.GetCache().GetInformer(ctx, &batchv1.Job{}, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	for _, i := range rules.Indexes() {
		if err := mgr.GetFieldIndexer().IndexField(ctx, i.Object, i.Field, i.Keys); err != nil {
			return err
		}
	}
	return nil
}

// retries is how what failed is tried again: each object by itself, so that
// thousands of conflicts do not wait in one line, and within a minute of the end
// of an outage, however long that was.
func retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, time.Minute)
}

// workers of the loops that only think and write: enough that a slow API
// server holds up no decision, nor another namespace those of the others.
const (
	workers     = 32
	subscribers = 8
)

func addSubscriptions(mgr ctrl.Manager, router *router, r admitting) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("subscription").
		For(&v1alpha1.ScaledObject{}, builder.WithPredicates(specChanged())).
		WatchesRawSource(source.Func(router.subscriptions.attach)).
		WithOptions(inTurns(subscribers, controller.Options{RateLimiter: retries(), NeedLeaderElection: ptr.To(false)}))
	return targets(b, mgr, templateOrReplicasChanged()).Complete(againAfterConflict(r))
}

func addHPAs(mgr ctrl.Manager, router *router, count int, r admitting) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("scaledobject").
		For(&v1alpha1.ScaledObject{}, builder.WithPredicates(specChanged())).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(hpaChanged())).
		WatchesRawSource(source.Func(router.specs.attach)).
		WithOptions(inTurns(count, controller.Options{RateLimiter: retries()}))
	// Which of several has a target is decided anew for all of them.
	b = b.Watches(&v1alpha1.ScaledObject{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		so, ok := o.(*v1alpha1.ScaledObject)
		if !ok {
			return nil
		}
		target := types.NamespacedName{Namespace: so.Namespace, Name: so.Spec.ScaleTargetRef.Name}
		return slices.DeleteFunc(scaling(ctx, mgr.GetClient(), target), func(r reconcile.Request) bool { return r.Name == so.Name })
	}), builder.WithPredicates(targetChanged()))
	return targets(b, mgr, predicate.Funcs{
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return true },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}).Complete(againAfterConflict(r))
}

func addDecisions(mgr ctrl.Manager, router *router, r admitting) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("activation").
		For(&v1alpha1.ScaledObject{}, builder.WithPredicates(specChanged())).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(scalingActiveChanged())).
		WatchesRawSource(source.Func(router.observations.attach)).
		WithOptions(inTurns(workers, controller.Options{RateLimiter: retries()}))
	return targets(b, mgr, predicate.Or[client.Object](templateOrReplicasChanged(), firstReady())).Complete(againAfterConflict(r))
}

// targets watches the kinds that the cache holds from the start and asks for
// the ScaledObjects that scale them.
func targets(b *builder.Builder, mgr ctrl.Manager, which predicate.Predicate) *builder.Builder {
	scaledBy := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return scaling(ctx, mgr.GetClient(), client.ObjectKeyFromObject(o))
	})
	for _, kind := range []client.Object{&appsv1.Deployment{}, &appsv1.StatefulSet{}} {
		b = b.Watches(kind, scaledBy, builder.WithPredicates(which))
	}
	return b
}

// mostOfTarget is how many ScaledObjects hear of a target of that name. One scales
// it, and one of each other kind that is called so; more than that are refused,
// and asking for all of them would keep what happens elsewhere waiting.
const mostOfTarget = 20

// scaling are requests for the ScaledObjects that scale a target by that name.
func scaling(ctx context.Context, objects client.Reader, target types.NamespacedName) []reconcile.Request {
	var list v1alpha1.ScaledObjectList
	err := objects.List(ctx, &list, client.InNamespace(target.Namespace), client.MatchingFields{rules.ByTarget: target.Name}, client.Limit(mostOfTarget), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}

// specChanged passes changes that a user makes: spec, labels, annotations and
// deletion, not status; and that there is room for what they made.
func specChanged() predicate.Predicate {
	return predicate.Or[client.Object](
		predicate.GenerationChangedPredicate{},
		predicate.LabelChangedPredicate{},
		predicate.AnnotationChangedPredicate{},
		roomChanged(),
	)
}

// targetChanged passes ScaledObjects that come, go, begin to go, and that name another
// target than before.
func targetChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*v1alpha1.ScaledObject)
			after, ok2 := e.ObjectNew.(*v1alpha1.ScaledObject)
			return ok && ok2 && (before.Spec.ScaleTargetRef != after.Spec.ScaleTargetRef || before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero())
		},
	}
}

// hpaChanged passes what anybody did to an HPA, not its status. An HPA has no
// generation on all servers that we work with.
func hpaChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*autoscalingv2.HorizontalPodAutoscaler)
			after, ok2 := e.ObjectNew.(*autoscalingv2.HorizontalPodAutoscaler)
			return ok && ok2 && !sameHPA(before, after)
		},
	}
}

func sameHPA(a, b *autoscalingv2.HorizontalPodAutoscaler) bool {
	return scaledobject.SameSpec(a, b) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) &&
		apiequality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}

func templateOrReplicasChanged() predicate.Predicate {
	return predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, roomChanged())
}

// firstReady passes that a target without ready Pods has one: a cold start is over.
func firstReady() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, known := federation.ReadyReplicas(e.ObjectOld)
			after, _ := federation.ReadyReplicas(e.ObjectNew)
			return known && before == 0 && after > 0
		},
	}
}

// scalingActiveChanged passes changes of what the HPA says of itself, and that it
// has seen a spec: it looked.
func scalingActiveChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*autoscalingv2.HorizontalPodAutoscaler)
			after, ok2 := e.ObjectNew.(*autoscalingv2.HorizontalPodAutoscaler)
			return ok && ok2 && (scalingActive(before) != scalingActive(after) || seen(before) != seen(after))
		},
	}
}

func seen(hpa *autoscalingv2.HorizontalPodAutoscaler) int64 {
	return ptr.Deref(hpa.Status.ObservedGeneration, 0)
}

func scalingActive(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, c := range hpa.Status.Conditions {
		if c.Type == autoscalingv2.ScalingActive {
			return string(c.Status) + c.Reason
		}
	}
	return ""
}
