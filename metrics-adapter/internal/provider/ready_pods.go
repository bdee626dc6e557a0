package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// selectorFor is how long the selector of a target's pods is taken for granted.
const selectorFor = 30 * time.Second

// mostWatches is how many targets of one namespace are watched at once: each takes
// a stream of the API server, and holds all pods that the target selects.
const mostWatches = 100

// errTooMany is about a target that is watched when another one no longer is.
var errTooMany = fmt.Errorf("the ready pods of %d other scale targets of the namespace are being counted, of which it may have no more", mostWatches)

// ReadyPods knows how many pods of a scale target are ready, which the HPA
// controller divides a target of type Value by. It watches the pods of those
// targets whose objects may need the number, so that an answer takes no request.
type ReadyPods struct {
	Cluster client.WithWatch
	Now     func() time.Time

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of Start, which owns the watches
	watches map[scaleTarget]*podWatch
	of      map[string]int // watches by namespace
	running sync.WaitGroup
}

// Start lets watches run until ctx ends.
func (r *ReadyPods) Start(ctx context.Context) error {
	r.mu.Lock()
	r.ctx = ctx
	for target, w := range r.watches {
		r.run(target, w) //nolint:contextcheck // r.ctx is ctx
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.running.Wait()
	return nil
}

// Handler follows ScaledObjects: their targets are watched as long as they need it.
func (r *ReadyPods) Handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { r.follow(nil, object) },
		UpdateFunc: func(old, object any) { r.follow(old, object) },
		DeleteFunc: func(object any) {
			if unseen, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = unseen.Obj
			}
			r.follow(object, nil)
		},
	}
}

// follow starts the watch that an object needs and ends one that it needs no
// longer.
func (r *ReadyPods) follow(old, object any) {
	before, _ := r.neededBy(old)
	now, needs := r.neededBy(object)
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.watches[before]; w != nil && (!needs || now != before) {
		w.end()
		delete(r.watches, before)
		if r.of[before.name.Namespace]--; r.of[before.name.Namespace] == 0 {
			delete(r.of, before.name.Namespace)
		}
	}
	if needs {
		r.watch(now)
	}
}

// neededBy is an object's target, and whether its ready pods may be asked for:
// for answers about a target of type Value in fallback or after a jump from zero.
func (r *ReadyPods) neededBy(object any) (target scaleTarget, needs bool) {
	so, ok := object.(*v1alpha1.ScaledObject)
	if !ok || so.Status.ScaleTargetGVKR == nil {
		return scaleTarget{}, false
	}
	_, held := scaling.Ceiling(so, r.Now())
	return targetOf(so), (held || len(so.Status.Fallback) > 0) && hasValueTarget(so)
}

func hasValueTarget(so *v1alpha1.ScaledObject) bool {
	if modifiers := so.Modifiers(); modifiers != nil && modifiers.TargetType() == autoscalingv2.ValueMetricType {
		return true
	}
	return slices.ContainsFunc(so.Spec.Triggers, func(t v1alpha1.ScaleTrigger) bool { return t.MetricType == autoscalingv2.ValueMetricType })
}

// watch returns the watch of a target's pods, which it starts if there is none; nil
// when its namespace has too many. r.mu is held.
func (r *ReadyPods) watch(target scaleTarget) *podWatch {
	if w := r.watches[target]; w != nil {
		return w
	}
	if r.of[target.name.Namespace] >= mostWatches {
		return nil
	}
	if r.watches == nil {
		r.watches, r.of = map[scaleTarget]*podWatch{}, map[string]int{}
	}
	r.of[target.name.Namespace]++
	w := &podWatch{known: make(chan struct{}), end: func() {}}
	r.watches[target] = w
	if r.ctx != nil {
		r.run(target, w)
	}
	return w
}

// run has w kept until it is ended. r.mu is held.
func (r *ReadyPods) run(target scaleTarget, w *podWatch) {
	ctx, end := context.WithCancel(r.ctx)
	w.end = end
	guard.Go(&r.running, "a watch of pods", target.name.String(), func() {
		defer end()
		guard.Loop(ctx, "a watch of pods", target.name.String(), func() {
			for ctx.Err() == nil {
				r.keep(ctx, target, w)
			}
		})
	})
}

// count is how many pods of a target are ready. What is not known yet is waited
// for within ctx.
func (r *ReadyPods) count(ctx context.Context, target scaleTarget) (int32, error) {
	r.mu.Lock()
	w := r.watch(target) //nolint:contextcheck // a watch outlives the answer
	r.mu.Unlock()
	if w == nil {
		return 0, errTooMany
	}
	select {
	case <-w.known:
		return w.count()
	case <-ctx.Done():
		return 0, fmt.Errorf("pods of the scale target: %w", context.Cause(ctx))
	}
}

// keep watches the pods that the target selects now, until that changes or is to
// be tried again.
func (r *ReadyPods) keep(ctx context.Context, target scaleTarget, w *podWatch) {
	selector, err := r.selector(ctx, target)
	if err != nil {
		w.fail(fmt.Errorf("scale target: %w", err))
		pause(ctx, selectorFor/10)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	pods := toolscache.NewSharedIndexInformer(r.listWatch(target.name.Namespace, selector, w), &corev1.Pod{}, 0, nil)
	untold := func(context.Context, *toolscache.Reflector, error) {} // w has what an answer says
	if err := errors.Join(pods.SetTransform(stripPod), pods.SetWatchErrorHandlerWithContext(untold)); err != nil {
		panic(err) // fails only for one that runs
	}
	guard.Go(&running, "a watch of pods", target.name.String(), func() { pods.RunWithContext(ctx) })
	guard.Go(&running, "a watch of pods", target.name.String(), func() {
		if toolscache.WaitFor(ctx, "", pods.HasSyncedChecker()) {
			w.hold(pods.GetStore())
		}
	})
	for err == nil && pause(ctx, selectorFor) {
		var now labels.Selector
		if now, err = r.selector(ctx, target); err == nil && now.String() != selector.String() {
			return
		}
	}
}

// selector is that of the target's pods, as its scale subresource says.
func (r *ReadyPods) selector(ctx context.Context, target scaleTarget) (labels.Selector, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(target.kind)
	object.SetNamespace(target.name.Namespace)
	object.SetName(target.name.Name)
	scale, err := federation.ReadScale(ctx, r.Cluster, object)
	if err != nil {
		return nil, err
	}
	selector, err := labels.Parse(scale.Status.Selector)
	if err != nil || selector.Empty() {
		return nil, errors.New("it has no pod selector")
	}
	return selector, nil
}

// listWatch is how the pods are read. Why they cannot be is told to w.
func (r *ReadyPods) listWatch(namespace string, selector labels.Selector, w *podWatch) toolscache.ListerWatcher {
	options := func(raw metav1.ListOptions) *client.ListOptions {
		return &client.ListOptions{Namespace: namespace, LabelSelector: selector, Raw: &raw}
	}
	return toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, raw metav1.ListOptions) (runtime.Object, error) {
			pods := &corev1.PodList{}
			err := r.Cluster.List(ctx, pods, options(raw))
			if err != nil {
				w.fail(fmt.Errorf("pods of the scale target: %w", err))
			}
			return pods, err
		},
		WatchFuncWithContext: func(ctx context.Context, raw metav1.ListOptions) (watch.Interface, error) {
			events, err := r.Cluster.Watch(ctx, &corev1.PodList{}, options(raw))
			if err == nil {
				w.recover()
			}
			return events, err
		},
	}, r.Cluster)
}

// podWatch is what is known of the pods of one target.
type podWatch struct {
	end   func()
	known chan struct{} // closed once there are pods or an error

	mu   sync.Mutex
	pods toolscache.Store
	err  error // why the pods are not known, or not any more
}

// hold has these pods counted from now on.
func (w *podWatch) hold(pods toolscache.Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods, w.err = pods, nil
	w.tell()
}

func (w *podWatch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.tell()
}

// recover is called when pods that were read once are followed again.
func (w *podWatch) recover() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pods != nil {
		w.err = nil
	}
}

// tell lets go who waits for the first answer. w.mu is held.
func (w *podWatch) tell() {
	select {
	case <-w.known:
	default:
		close(w.known)
	}
}

func (w *podWatch) count() (ready int32, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	for _, object := range w.pods.List() {
		if isReady(object.(*corev1.Pod)) {
			ready++
		}
	}
	return ready, nil
}

// stripPod keeps of a pod what isReady reads.
func stripPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok { // the last state of one that was deleted unseen
		return object, nil
	}
	kept := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, ResourceVersion: pod.ResourceVersion}}
	kept.Status.Phase = pod.Status.Phase
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			kept.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return kept, nil
}

func isReady(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// pause waits for so long and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
