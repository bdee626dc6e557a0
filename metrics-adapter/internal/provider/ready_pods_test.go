package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// counted has the requests counted that answers cost the API server.
func (f *fixture) counted() *atomic.Int64 {
	var requests atomic.Int64
	f.Ready.Cluster = listed{interceptor.NewClient(f.Ready.Cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			requests.Add(1)
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			requests.Add(1)
			return c.List(ctx, list, opts...)
		},
		SubResourceGet: func(ctx context.Context, c client.Client, sub string, o, body client.Object, opts ...client.SubResourceGetOption) error {
			requests.Add(1)
			return c.SubResource(sub).Get(ctx, o, body, opts...)
		},
	})}
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
		f.Ready.Cluster = listed{interceptor.NewClient(f.Ready.Cluster, interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if forbidden.Load() {
					return errors.New("pods is forbidden")
				}
				return c.List(ctx, list, opts...)
			},
		})}
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
