package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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

// What the pods of targets may take, which whoever may write pods and targets
// decides. A watch takes a stream of the API server; a pod a flag.
const (
	// mostWatches is how many targets of one namespace are watched at once,
	// mostWatchesInAll how many of all.
	mostWatches, mostWatchesInAll = 100, 500
	// mostPods is how many pods a target may select, mostPodsOfOne how many all
	// watched targets of a namespace, mostPodsInAll how many all of them.
	mostPods, mostPodsOfOne, mostPodsInAll = 20_000, 200_000, 1_000_000
	// mostLists are read at once, mostListsOfOne of a namespace.
	mostLists, mostListsOfOne = 8, 2
	// mostScales are read at once, mostScalesOfOne of a namespace: in places of their
	// own, since answers wait for some and lists may last.
	mostScales, mostScalesOfOne = 16, 4
	// listTime is how long reading one may take, watchTime how long a watch goes
	// on by itself at most.
	listTime, watchTime = time.Minute, 10 * time.Minute
	// retryAfter is how long a list that failed is not tried again, ever longer up
	// to longestRetry; tooManyFor one that had too many pods.
	retryAfter, longestRetry, tooManyFor = time.Second, time.Minute, 5 * time.Minute
	// betweenWatches is how long one that ended is not begun again.
	betweenWatches = 500 * time.Millisecond
)

// errTooMany is about a target that is watched when another one no longer is.
var errTooMany = fmt.Errorf("the ready pods of %d other scale targets of the namespace, or of %d of all, are being counted: there may be no more", mostWatches, mostWatchesInAll)

// tooManyPodsError is about a target of which no pods are counted, rather than some.
type tooManyPodsError struct{ what string }

func (e tooManyPodsError) Error() string {
	return e.what + ", so that none are counted: metrics of type AverageValue need no count"
}

// PodReader asks the API server for pods of a namespace, as JSON.
type PodReader func(ctx context.Context, namespace string, options metav1.ListOptions) (io.ReadCloser, error)

// ReadyPods knows how many pods of a scale target are ready, which the HPA
// controller divides a target of type Value by. It watches the pods of those
// targets whose objects may need the number, so that an answer takes no request.
type ReadyPods struct {
	// Cluster reads scales of targets, Pods what they select.
	Cluster client.Client
	Pods    PodReader
	Now     func() time.Time

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of Start, which owns the watches
	watches map[scaleTarget]*podWatch
	of      map[string]int // watches by namespace
	running sync.WaitGroup
	lists   places
	scales  places
	counted podCount
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
// when its namespace, or all, have too many. r.mu is held.
func (r *ReadyPods) watch(target scaleTarget) *podWatch {
	if w := r.watches[target]; w != nil {
		return w
	}
	if r.of[target.name.Namespace] >= mostWatches || len(r.watches) >= mostWatchesInAll {
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
		w.fail(ctx, err)
		pause(ctx, selectorFor/10)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	guard.Go(&running, "a watch of pods", target.name.String(), func() {
		guard.Loop(ctx, "a watch of pods", target.name.String(), func() { r.follows(ctx, target.name.Namespace, selector, w) })
	})
	for err == nil && pause(ctx, selectorFor) {
		var now string
		if now, err = r.selector(ctx, target); err == nil && now != selector {
			return
		}
	}
}

// scale is the target's scale subresource. It is as long as whoever writes the
// target makes its selector, so that those of a namespace are read in turn.
func (r *ReadyPods) scale(ctx context.Context, target scaleTarget) (*autoscalingv1.Scale, error) {
	leave, ok := r.scales.enter(ctx, mostScales, mostScalesOfOne, target.name.Namespace)
	if !ok {
		return nil, context.Cause(ctx)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(target.kind)
	object.SetNamespace(target.name.Namespace)
	object.SetName(target.name.Name)
	return federation.ReadScale(ctx, r.Cluster, object)
}

// longestSelector is what one may have, in bytes: it is part of the address that
// pods are asked for by.
const longestSelector = 4 << 10

// selector is that of the target's pods, as its scale subresource says. Only the
// API server takes it apart: what that takes is many times the text.
func (r *ReadyPods) selector(ctx context.Context, target scaleTarget) (string, error) {
	scale, err := r.scale(ctx, target)
	switch {
	case err != nil:
		return "", err
	case strings.TrimSpace(scale.Status.Selector) == "":
		return "", errors.New("it has no pod selector")
	case len(scale.Status.Selector) > longestSelector:
		return "", fmt.Errorf("its pod selector has more than %d bytes", longestSelector)
	}
	return strings.Clone(scale.Status.Selector), nil
}

// follows counts the pods of a selector until ctx ends.
func (r *ReadyPods) follows(ctx context.Context, namespace, selector string, w *podWatch) {
	version := "0" // what the API server has at hand
	for after := retryAfter; ctx.Err() == nil; version = "" {
		listed, err := r.followsFrom(ctx, namespace, selector, version, w)
		if many := (tooManyPodsError{}); errors.As(err, &many) {
			after = tooManyFor
		} else if listed {
			after = retryAfter
		}
		pause(ctx, after)
		after = min(2*after, longestRetry)
	}
}

// followsFrom lists pods, and counts by what a watch says from then on. It returns
// when they have to be listed anew, and whether they were listed.
func (r *ReadyPods) followsFrom(ctx context.Context, namespace, selector, version string, w *podWatch) (listed bool, err error) {
	pods := &podSet{counted: &r.counted, namespace: namespace, ready: map[podKey]bool{}}
	defer pods.end()
	version, err = r.list(ctx, namespace, metav1.ListOptions{LabelSelector: selector, ResourceVersion: version}, pods)
	if err != nil {
		w.fail(ctx, err)
		return false, err
	}
	w.hold(pods.count)
	for again := true; again; again = err == nil && pause(ctx, betweenWatches) {
		long := int64((watchTime/2 + rand.N(watchTime/2)).Seconds()) //nolint:gosec // no secret
		err = r.watchFrom(ctx, namespace, metav1.ListOptions{
			LabelSelector: selector, ResourceVersion: version, Watch: true, AllowWatchBookmarks: true, TimeoutSeconds: &long,
		}, &version, pods, w)
	}
	// Until they are listed anew the number stands, unless it would be a part.
	if many := (tooManyPodsError{}); errors.As(err, &many) {
		w.fail(ctx, err)
	}
	return true, err
}

func (r *ReadyPods) list(ctx context.Context, namespace string, options metav1.ListOptions, pods *podSet) (version string, err error) {
	leave, ok := r.lists.enter(ctx, mostLists, mostListsOfOne, namespace)
	if !ok {
		return "", context.Cause(ctx)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	body, err := r.Pods(ctx, namespace, options)
	if err != nil {
		return "", err
	}
	defer body.Close()
	return newPodStream(body).list(pods.put)
}

// watchFrom follows events from a version on, which it keeps up to date, until the
// watch ends, as each does after a while. The error is why it cannot be gone on
// with from there.
func (r *ReadyPods) watchFrom(ctx context.Context, namespace string, options metav1.ListOptions, version *string, pods *podSet, w *podWatch) error {
	ctx, cancel := context.WithTimeout(ctx, watchTime+listTime)
	defer cancel()
	body, err := r.Pods(ctx, namespace, options)
	if err != nil {
		return err
	}
	defer body.Close()
	for events := newPodStream(body); ; {
		kind, pod, err := events.event()
		switch {
		case err != nil:
			return nil // the connection ended
		case kind == string(watch.Error):
			return fmt.Errorf("watch: %d %s", pod.code, pod.message)
		case kind == string(watch.Deleted):
			pods.remove(pod)
		case kind == string(watch.Added), kind == string(watch.Modified):
			if err := pods.put(pod); err != nil {
				return err
			}
		}
		if pod.version != "" {
			*version = pod.version
		}
		w.hold(pods.count)
	}
}

// podCount counts pods of all watched targets.
type podCount struct {
	mu  sync.Mutex
	of  map[string]int // by namespace
	all int
}

// add counts so many more, or fewer. It is false when there is no room for more.
func (c *podCount) add(namespace string, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && (c.of[namespace]+n > mostPodsOfOne || c.all+n > mostPodsInAll) {
		return false
	}
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.all += n
	if c.of[namespace] += n; c.of[namespace] == 0 {
		delete(c.of, namespace)
	}
	return true
}

// podKey stands for the name of a pod, which may be long.
type podKey [16]byte

func keyOf(name string) (key podKey) {
	sum := sha256.Sum256([]byte(name))
	copy(key[:], sum[:])
	return key
}

// podSet has a flag for each pod of a target. One goroutine uses it.
type podSet struct {
	counted   *podCount
	namespace string
	ready     map[podKey]bool
	count     int32 // of those that are ready
}

func (s *podSet) put(p seen) error {
	if p.name == "" {
		return errors.New("the API server sent something that is no Pod")
	}
	key := keyOf(p.name)
	was, known := s.ready[key]
	switch {
	case known:
	case len(s.ready) >= mostPods:
		return tooManyPodsError{fmt.Sprintf("more than %d Pods are selected", mostPods)}
	case !s.counted.add(s.namespace, 1):
		return tooManyPodsError{fmt.Sprintf("more than %d Pods are selected by such scale targets of the namespace, or %d by all", mostPodsOfOne, mostPodsInAll)}
	}
	s.ready[key] = p.ready
	s.count += one(p.ready) - one(was)
	return nil
}

func (s *podSet) remove(p seen) {
	key := keyOf(p.name)
	was, known := s.ready[key]
	if !known {
		return
	}
	delete(s.ready, key)
	s.counted.add(s.namespace, -1)
	s.count -= one(was)
}

func (s *podSet) end() { s.counted.add(s.namespace, -len(s.ready)) }

func one(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// podWatch is what is known of the pods of one target.
type podWatch struct {
	end   func()
	known chan struct{} // closed once there are pods or an error

	mu    sync.Mutex
	ready int32
	err   error // why the number is not known, or not any more
}

// hold has this number be the answer from now on.
func (w *podWatch) hold(ready int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready, w.err = ready, nil
	w.tell()
}

// fail has err be the answer, unless it is that ctx has ended.
func (w *podWatch) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = fmt.Errorf("pods of the scale target: %w", err)
	w.tell()
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
	return w.ready, w.err
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
