package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

func addJobSubscriptions(mgr ctrl.Manager, r admitting) error {
	return ctrl.NewControllerManagedBy(mgr).Named("job-subscription").
		For(&v1alpha1.ScaledJob{}, builder.WithPredicates(specChanged())).
		WithOptions(inTurns(subscribers, controller.Options{RateLimiter: retries(), NeedLeaderElection: ptr.To(false)})).
		Complete(againAfterConflict(r))
}

// addJobs runs the reconciler of ScaledJobs. ended is told of Jobs whose
// end has just been heard of, while this process acts.
func addJobs(mgr ctrl.Manager, router *router, count int, acts func() bool, ended func(types.NamespacedName, string), r admitting) error {
	return ctrl.NewControllerManagedBy(mgr).Named("scaledjob").
		For(&v1alpha1.ScaledJob{}, builder.WithPredicates(specChanged())).
		Watches(&batchv1.Job{}, jobChanged(router, acts, ended)).
		WatchesRawSource(source.Func(router.jobs.attach)).
		WithOptions(inTurns(count, controller.Options{RateLimiter: retries()})).
		Complete(againAfterConflict(r))
}

// jobChanged asks for the ScaledJob of a Job that came, ended or went. What
// happens in between is followed by way of its Pods, where it matters.
func jobChanged(router *router, acts func() bool, ended func(types.NamespacedName, string)) handler.EventHandler {
	heard := func(q queue, job client.Object, end bool) {
		if !router.leads() {
			return
		}
		owner := ownerOf(job)
		if end && acts() { // else nobody reconciles, and it would be remembered for ever
			ended(owner, job.GetName())
		}
		q.Add(reconcile.Request{NamespacedName: owner})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			heard(q, e.Object, !e.IsInInitialList && hasEnded(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if hasEnded(e.ObjectNew) && !hasEnded(e.ObjectOld) {
				heard(q, e.ObjectNew, true)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			heard(q, e.Object, !hasEnded(e.Object))
		},
	}
}

func hasEnded(o client.Object) bool {
	job, ok := o.(*batchv1.Job)
	return ok && scaledjob.HasEnded(job)
}

// ownerOf is the ScaledJob that a Job or Pod belongs to.
func ownerOf(o client.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelScaledJobName]}
}

// ofScaledJobs is what the cache holds of Jobs and Pods.
func ofScaledJobs(budget *kept.Budget) cache.ByObject {
	labelled, err := labels.NewRequirement(v1alpha1.LabelScaledJobName, selection.Exists, nil)
	must(err)
	return cache.ByObject{
		Label: labels.NewSelector().Add(*labelled), Transform: scaledjob.Stripped(budget), UnsafeDisableDeepCopy: ptr.To(true),
	}
}

// podSync is how long the first list of Pods may take before it is a problem
// to tell of.
const podSync = 2 * time.Second

// pods are watched from the first time that somebody asks for them: most
// strategies never do.
type pods struct {
	cache  cache.Cache
	router *router

	mu       sync.Mutex
	informer cache.Informer
}

var errPodsUnknown = errors.New("the Pods of Jobs are not known yet: the controller needs list and watch on pods")

// watch makes the cache hold the Pods of Jobs and every change of them a
// reconcile of their ScaledJob.
func (p *pods) watch(ctx context.Context) error {
	informer, err := p.start(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, podSync)
	defer cancel()
	if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errPodsUnknown
	}
	return nil
}

func (p *pods) start(ctx context.Context) (cache.Informer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.informer != nil {
		return p.informer, nil
	}
	informer, err := p.cache.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { p.changed(nil, o) },
		UpdateFunc: p.changed,
	})
	if err != nil {
		return nil, err
	}
	p.informer = informer
	return informer, nil
}

func (p *pods) changed(before, after any) {
	pod, ok := after.(*corev1.Pod)
	if !ok || !p.router.leads() {
		return
	}
	if old, ok := before.(*corev1.Pod); ok && apiequality.Semantic.DeepEqual(old.Status, pod.Status) {
		return
	}
	p.router.jobs.add(ownerOf(pod))
}
