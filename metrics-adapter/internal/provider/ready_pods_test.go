package provider

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// counted has the requests counted that answers cost the API server.
func (f *fixture) counted() *atomic.Int64 {
	var requests atomic.Int64
	cluster := f.Cluster.(client.WithWatch)
	f.Ready.Cluster = interceptor.NewClient(cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			requests.Add(1)
			return c.Get(ctx, key, o, opts...)
		},
		SubResourceGet: func(ctx context.Context, c client.Client, sub string, o, body client.Object, opts ...client.SubResourceGetOption) error {
			requests.Add(1)
			return c.SubResource(sub).Get(ctx, o, body, opts...)
		},
	})
	f.Ready.Pods = func(ctx context.Context, namespace string, options metav1.ListOptions) (io.ReadCloser, error) {
		if !options.Watch {
			requests.Add(1)
		}
		return podsOf(cluster)(ctx, namespace, options)
	}
	f.Cluster = f.Ready.Cluster
	return &requests
}

// object is the fixture's as the informer has it.
func (f *fixture) object(t *testing.T) *v1alpha1.ScaledObject {
	t.Helper()
	so := &v1alpha1.ScaledObject{}
	if err := f.Objects.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "worker"}, so); err != nil {
		t.Fatal(err)
	}
	return so
}

// TestReadyPodsCostAnAnswerNoRequest has an object in fallback, whose pods are
// watched from then on, and the HPA controller ask for both of its metrics,
// several at once, in four syncs that are 15 s apart.
func TestReadyPodsCostAnAnswerNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil, valueTargets, verdict("s0-a", ptr.To[int32](6)), verdict("s1-b", ptr.To[int32](6)), activated("", 0), atMost(4))
		requests := f.counted()
		so := f.object(t)
		f.Ready.Handler().OnAdd(so, true)
		synctest.Wait()
		if got := requests.Load(); got != 2 {
			t.Errorf("%d requests for the watch, want the selector and the pods", got)
		}
		for range 4 {
			before := requests.Load()
			var asking sync.WaitGroup
			for range 3 {
				for _, metric := range []string{"s0-a", "s1-b"} {
					asking.Go(func() {
						if _, err := f.ask(t.Context(), selector, metric); err != nil {
							t.Error(err)
						}
					})
				}
			}
			asking.Wait()
			if got := requests.Load(); got != before {
				t.Errorf("%d requests for answers", got-before)
			}
			<-time.After(15*time.Second - 1)
		}
		before := requests.Load()
		recovered := so.DeepCopy()
		recovered.Status.Fallback, recovered.Status.Activation = nil, nil
		f.Ready.Handler().OnUpdate(so, recovered)
		<-time.After(10 * selectorFor)
		if got := requests.Load(); got != before || len(f.Ready.watches) != 0 {
			t.Errorf("%d requests and %d watches for an object that needs none", got-before, len(f.Ready.watches))
		}
	})
}

func TestOnlyObjectsThatDivideByReadyPodsHaveThemWatched(t *testing.T) {
	for name, tt := range map[string]struct {
		change []func(*v1alpha1.ScaledObject)
		want   int
	}{
		"at rest":                       {change: []func(*v1alpha1.ScaledObject){valueTargets}},
		"fallback by average":           {change: []func(*v1alpha1.ScaledObject){verdict("s0-a", ptr.To[int32](6))}},
		"fallback by value":             {change: []func(*v1alpha1.ScaledObject){valueTargets, verdict("s0-a", ptr.To[int32](6))}, want: 1},
		"a jump by value":               {change: []func(*v1alpha1.ScaledObject){valueTargets, activated("", 0)}},
		"a jump by value with policies": {change: []func(*v1alpha1.ScaledObject){valueTargets, activated("", 0), atMost(4)}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil, tt.change...)
			so := f.object(t)
			f.Ready.Handler().OnAdd(so, true)
			if got := len(f.Ready.watches); got != tt.want {
				t.Errorf("%d watches, want %d", got, tt.want)
			}
			f.Ready.Handler().OnDelete(so)
			if got := len(f.Ready.watches); got != 0 {
				t.Errorf("%d watches after the end", got)
			}
		})
	}
}

func TestReadyPodsAreThoseOfThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil, valueTargets, verdict("s0-a", ptr.To[int32](6)))
		if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 30" {
			t.Errorf("%s, %v", got, err)
		}
		synctest.Wait() // until the watch stands: this cluster tells it nothing of before
		c := f.Ready.Cluster
		two := &corev1.Pod{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "two"}, two); err != nil {
			t.Fatal(err)
		}
		two.Status.Conditions[0].Status = corev1.ConditionTrue
		if err := c.Status().Update(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 15" {
			t.Errorf("%s, %v", got, err)
		}
		for _, name := range []string{"one", "two"} {
			if err := c.Delete(t.Context(), pod(name, true)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		want := "ScaledObject shop/worker, metric s0-a: trigger 0 (kafka): dial tcp: refused; fallback: no pod of the scale target is ready"
		if _, err := f.ask(t.Context(), selector, "s0-a"); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	})
}

// TestPodsThatCannotBeReadAreNotZero: why is said, and when it is over it is
// over.
func TestPodsThatCannotBeReadAreNotZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil, valueTargets, verdict("s0-a", ptr.To[int32](6)))
		var forbidden atomic.Bool
		forbidden.Store(true)
		pods := f.Ready.Pods
		f.Ready.Pods = func(ctx context.Context, namespace string, options metav1.ListOptions) (io.ReadCloser, error) {
			if forbidden.Load() {
				return nil, errors.New("pods is forbidden")
			}
			return pods(ctx, namespace, options)
		}
		_, err := f.ask(t.Context(), selector, "s0-a")
		if err == nil || !strings.Contains(err.Error(), "pods of the scale target: pods is forbidden") || !strings.Contains(err.Error(), "dial tcp: refused") {
			t.Errorf("error %v", err)
		}
		forbidden.Store(false)
		<-time.After(time.Minute)
		if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 30" {
			t.Errorf("%s, %v", got, err)
		}
	})
}

func TestSelectorThatChangesIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil, valueTargets, verdict("s0-a", ptr.To[int32](6)))
		f.selector.Store("")
		_, err := f.ask(t.Context(), selector, "s0-a")
		if err == nil || !strings.Contains(err.Error(), "scale target: it has no pod selector") || !strings.Contains(err.Error(), "dial tcp: refused") {
			t.Errorf("error %v", err)
		}
		f.selector.Store("app=other")
		<-time.After(2 * selectorFor)
		if _, err := f.ask(t.Context(), selector, "s0-a"); err == nil || !strings.Contains(err.Error(), "no pod of the scale target is ready") {
			t.Errorf("error %v", err)
		}
		f.selector.Store("app=worker")
		<-time.After(2 * selectorFor)
		if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 30" {
			t.Errorf("%s, %v", got, err)
		}
	})
}

// A selector is a text of whoever may write the target: only one that fits into an
// address is kept, and none is taken apart.
func TestSelectorsAreNoLongerThanAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil, valueTargets, verdict("s0-a", ptr.To[int32](6)))
		f.selector.Store(strings.Repeat("a,", longestSelector))
		if _, err := f.ask(t.Context(), selector, "s0-a"); err == nil || !strings.Contains(err.Error(), "pod selector has more than 4096 bytes") {
			t.Errorf("error %v", err)
		}
		f.selector.Store("app=worker")
		<-time.After(2 * selectorFor)
		if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 30" {
			t.Errorf("%s, %v", got, err)
		}
	})
}

// A watch takes a stream of the API server and holds pods. Those of one namespace
// are counted; others have theirs, and so does who comes when there is room.
func TestWatchesOfANamespaceAreBounded(t *testing.T) {
	var r ReadyPods // nothing runs before Start
	r.Now = time.Now
	target := func(namespace string, i int) scaleTarget {
		return scaleTarget{name: client.ObjectKey{Namespace: namespace, Name: fmt.Sprint("worker-", i)}}
	}
	r.mu.Lock()
	for i := range 2 * mostWatches {
		r.watch(target("greedy", i))
	}
	if len(r.watches) != mostWatches {
		t.Errorf("%d watches of one namespace", len(r.watches))
	}
	if r.watch(target("shop", 0)) == nil {
		t.Error("another namespace has none")
	}
	r.mu.Unlock()
	if _, err := r.count(t.Context(), target("greedy", mostWatches)); !errors.Is(err, errTooMany) {
		t.Errorf("one more is counted: %v", err)
	}
	so := &v1alpha1.ScaledObject{}
	so.Namespace, so.Spec.ScaleTargetRef.Name = "greedy", "worker-0"
	so.Status.ScaleTargetGVKR = &v1alpha1.GroupVersionKindResource{}
	r.mu.Lock()
	gone := targetOf(so)
	r.watches[gone] = r.watches[target("greedy", 0)]
	delete(r.watches, target("greedy", 0))
	r.mu.Unlock()
	r.follow(so, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watch(target("greedy", mostWatches)) == nil || r.of["greedy"] != mostWatches {
		t.Errorf("there is no room for another one when one has gone: %d", r.of["greedy"])
	}
}

// crowd is a PodReader of so many pods, which are all ready, of any selector.
func crowd(pods *atomic.Int64, lists *atomic.Int64) PodReader {
	return func(ctx context.Context, _ string, options metav1.ListOptions) (io.ReadCloser, error) {
		r, w := io.Pipe()
		context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
		if options.Watch {
			return r, nil
		}
		lists.Add(1)
		go func() {
			buffered := bufio.NewWriter(w)
			fmt.Fprint(buffered, `{"items":[`)
			for i := range pods.Load() {
				if i > 0 {
					fmt.Fprint(buffered, ",")
				}
				_, err := fmt.Fprintf(buffered, `{"metadata":{"name":"pod-%d"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, i)
				if err != nil {
					return // nobody reads on
				}
			}
			fmt.Fprint(buffered, `],"metadata":{"resourceVersion":"1"}}`)
			buffered.Flush()
			w.Close()
		}()
		return r, nil
	}
}

// now is how many are counted of a namespace.
func (c *podCount) now(namespace string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[namespace]
}

// TestATargetWithTooManyPodsHasNoCount: nothing is divided by a part of the pods.
// The object says what to do, nothing is kept, the API server is left alone, and
// when there are fewer they are counted.
func TestATargetWithTooManyPodsHasNoCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil, valueTargets, verdict("s0-a", ptr.To[int32](6)))
		var pods, lists atomic.Int64
		pods.Store(mostPods + 1)
		f.Ready.Pods = crowd(&pods, &lists)
		want := "ScaledObject shop/worker, metric s0-a: trigger 0 (kafka): dial tcp: refused; pods of the scale target: " +
			"more than 20000 Pods are selected, so that none are counted: metrics of type AverageValue need no count"
		for range 4 {
			if got, err := f.ask(t.Context(), selector, "s0-a"); err == nil || err.Error() != want {
				t.Errorf("%s, %v", got, err)
			}
			<-time.After(time.Minute)
		}
		synctest.Wait()
		if kept := f.Ready.counted.now("shop"); lists.Load() != 1 || kept != 0 {
			t.Errorf("%d lists in four minutes, %d pods are kept", lists.Load(), kept)
		}
		pods.Store(mostPods)
		<-time.After(tooManyFor)
		synctest.Wait()
		if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 0.001" || f.Ready.counted.now("shop") != mostPods {
			t.Errorf("%s, %v, %d pods", got, err, f.Ready.counted.now("shop"))
		}
	})
}

// A watch that learns of one pod too many ends as a list does.
func TestPodsThatBecomeTooManyHaveNoCount(t *testing.T) {
	var r ReadyPods
	w := &podWatch{known: make(chan struct{})}
	pods := &podSet{counted: &r.counted, namespace: "shop", ready: map[podKey]bool{}}
	for i := range mostPods {
		if err := pods.put(seen{name: fmt.Sprint(i), ready: i%2 == 0}); err != nil {
			t.Fatal(err)
		}
	}
	r.Pods = func(context.Context, string, metav1.ListOptions) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(`{"type":"DELETED","object":{"metadata":{"name":"0"}}}{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"8"}}}` +
			`{"type":"ADDED","object":{"metadata":{"name":"more"}}}{"type":"ADDED","object":{"metadata":{"name":"more"}}}{"type":"ADDED","object":{"metadata":{"name":"one more"}}}`)), nil
	}
	version := "7"
	err := r.watchFrom(t.Context(), "shop", metav1.ListOptions{}, &version, pods, w)
	if many := (tooManyPodsError{}); !errors.As(err, &many) || version != "8" || pods.count != mostPods/2-1 {
		t.Errorf("%v, version %s, %d pods", err, version, pods.count)
	}
	pods.end()
	if r.counted.all != 0 || len(r.counted.of) != 0 {
		t.Errorf("%+v are counted", r.counted.of)
	}
}

// TestPodsOfANamespaceAreBounded: a hundred targets may select the same pods, whose
// flags are then kept a hundred times, of one namespace and of all.
func TestPodsOfANamespaceAreBounded(t *testing.T) {
	var counted podCount
	fill := func(namespace string) (sets []*podSet, err error) {
		for range mostWatches {
			s := &podSet{counted: &counted, namespace: namespace, ready: map[podKey]bool{}}
			sets = append(sets, s)
			for i := range mostPods {
				if err := s.put(seen{name: fmt.Sprint(i)}); err != nil {
					return sets, err
				}
			}
		}
		return sets, nil
	}
	greedy, err := fill("greedy")
	if many := (tooManyPodsError{}); !errors.As(err, &many) || counted.of["greedy"] != mostPodsOfOne {
		t.Fatalf("%v, %d pods", err, counted.of["greedy"])
	}
	shop := &podSet{counted: &counted, namespace: "shop", ready: map[podKey]bool{}}
	if err := shop.put(seen{name: "one"}); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	for i := 0; counted.all < mostPodsInAll; i++ {
		counted.add(fmt.Sprint("other-", i), min(mostPodsOfOne, mostPodsInAll-counted.all))
	}
	if err := shop.put(seen{name: "two"}); err == nil {
		t.Error("more than all may have are kept")
	}
	for _, s := range greedy {
		s.end()
	}
	if err := shop.put(seen{name: "two"}); err != nil || counted.of["greedy"] != 0 {
		t.Errorf("there is no room when others have gone: %v", err)
	}
}

// Watches of all namespaces together are counted, too.
func TestWatchesInAllAreBounded(t *testing.T) {
	var r ReadyPods
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range 2 * mostWatchesInAll {
		r.watch(scaleTarget{name: client.ObjectKey{Namespace: fmt.Sprint("greedy-", i%20), Name: fmt.Sprint(i)}})
	}
	if len(r.watches) != mostWatchesInAll {
		t.Errorf("%d watches", len(r.watches))
	}
}
