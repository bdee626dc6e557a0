package manager

import (
	"context"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
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
)

// byTarget is the index of ScaledObjects by the name of their target.
const byTarget = "spec.scaleTargetRef.name"

func index(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, scaledobject.ByOwner, scaledobject.OwnerOf)
	if err != nil {
		return err
	}
	return mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ScaledObject{}, byTarget, func(o client.Object) []string {
		return []string{o.(*v1alpha1.ScaledObject).Spec.ScaleTargetRef.Name}
	})
}

// workers of the loops that only think and write: enough that a slow API
// server holds up no decision.
const workers = 16

func subscribing(mgr ctrl.Manager, r reconcile.Reconciler) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("subscription").
		For(&v1alpha1.ScaledObject{}, builder.WithPredicates(specChanged())).
		WithOptions(controller.Options{NeedLeaderElection: ptr.To(false), MaxConcurrentReconciles: 2})
	return targets(b, mgr, templateOrReplicasChanged()).Complete(r)
}

func reconciling(mgr ctrl.Manager, bell *bell, count int, r reconcile.Reconciler) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("scaledobject").
		For(&v1alpha1.ScaledObject{}, builder.WithPredicates(specChanged())).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(specChanged())).
		WatchesRawSource(source.Func(bell.specs.attach)).
		WithOptions(controller.Options{MaxConcurrentReconciles: count})
	return targets(b, mgr, predicate.Funcs{
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return true },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}).Complete(r)
}

func deciding(mgr ctrl.Manager, bell *bell, r reconcile.Reconciler) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("activation").
		For(&v1alpha1.ScaledObject{}, builder.WithPredicates(specChanged())).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(scalingActiveChanged())).
		WatchesRawSource(source.Func(bell.observations.attach)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers})
	return targets(b, mgr, templateOrReplicasChanged()).Complete(r)
}

// targets watches the kinds that the cache holds and asks for the ScaledObjects
// that scale them.
func targets(b *builder.Builder, mgr ctrl.Manager, which predicate.Predicate) *builder.Builder {
	scaledBy := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list v1alpha1.ScaledObjectList
		err := mgr.GetClient().List(ctx, &list, client.InNamespace(o.GetNamespace()), client.MatchingFields{byTarget: o.GetName()})
		if err != nil {
			return nil
		}
		requests := make([]reconcile.Request, len(list.Items))
		for i := range list.Items {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
		}
		return requests
	})
	for _, kind := range []client.Object{&appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.ReplicaSet{}} {
		b = b.Watches(kind, scaledBy, builder.WithPredicates(which))
	}
	return b
}

// specChanged passes changes that a user makes: spec, labels, annotations and
// deletion, not status.
func specChanged() predicate.Predicate {
	return predicate.Or[client.Object](
		predicate.GenerationChangedPredicate{},
		predicate.LabelChangedPredicate{},
		predicate.AnnotationChangedPredicate{},
	)
}

func templateOrReplicasChanged() predicate.Predicate { return predicate.GenerationChangedPredicate{} }

// scalingActiveChanged passes changes of what the HPA says of itself.
func scalingActiveChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*autoscalingv2.HorizontalPodAutoscaler)
			after, ok2 := e.ObjectNew.(*autoscalingv2.HorizontalPodAutoscaler)
			return ok && ok2 && scalingActive(before) != scalingActive(after)
		},
	}
}

func scalingActive(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, c := range hpa.Status.Conditions {
		if c.Type == autoscalingv2.ScalingActive {
			return string(c.Status) + c.Reason
		}
	}
	return ""
}

// queue is where requests of one controller go.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// outlet hands requests to a controller once it runs. What comes earlier is
// dropped: a controller starts with all objects anyway.
type outlet struct {
	mu    sync.RWMutex
	queue queue
}

func (o *outlet) attach(_ context.Context, q queue) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = q
	return nil
}

func (o *outlet) ask(key types.NamespacedName) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.queue != nil {
		o.queue.Add(reconcile.Request{NamespacedName: key})
	}
}

// bell passes on what the federation heard: everything to the activation loop,
// and to the reconciler what the HPA or the condition Ready depends on.
type bell struct {
	states              func(federation.ID) (federation.State, bool)
	observations, specs outlet

	mu    sync.Mutex
	known map[federation.ID]said
}

// said is what the reconciler acts on.
type said struct {
	generation            int64
	specs                 string
	rejected, unreachable string
}

func (b *bell) changed(id federation.ID) {
	key := types.NamespacedName{Namespace: id.Namespace, Name: id.Name}
	if b.news(id) {
		b.specs.ask(key)
	}
	b.observations.ask(key)
}

// news reports whether the reconciler has not heard this yet.
func (b *bell) news(id federation.ID) bool {
	state, ok := b.states(id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !ok {
		delete(b.known, id)
		return true
	}
	now := said{generation: state.Generation, rejected: text(state.Rejected), unreachable: text(state.Unreachable)}
	for _, s := range state.Specs {
		now.specs += fmt.Sprintf("%s=%v;", s.Name, s.Target)
	}
	if b.known == nil {
		b.known = map[federation.ID]said{}
	}
	before, heard := b.known[id]
	b.known[id] = now
	return !heard || before != now
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
