package manager

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

func request(namespace string, n int) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(n)}}
}

// A namespace has thousands of objects whose every request stalls. Workers are
// left, and the others' objects are worked on as they come.
func TestObjectsOfOneNamespaceHoldUpNobodyElse(t *testing.T) {
	const count = 6
	stalled, release, served := make(chan struct{}, 10_000), make(chan struct{}), make(chan string, 100)
	slow := reconcile.Func(func(_ context.Context, r reconcile.Request) (reconcile.Result, error) {
		if r.Namespace == "slow" {
			stalled <- struct{}{}
			<-release
			return reconcile.Result{}, nil
		}
		served <- r.String()
		return reconcile.Result{}, nil
	})
	c, err := controller.NewUnmanaged("turns", inTurns(count, controller.Options{
		Reconciler: slow, RateLimiter: retries(), SkipNameValidation: ptr.To(true),
	}))
	if err != nil {
		t.Fatal(err)
	}
	var router feed
	if err := c.Watch(source.Func(router.attach)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	for attached := false; !attached; {
		router.mu.RLock()
		attached = router.queue != nil
		router.mu.RUnlock()
		<-time.After(time.Millisecond)
	}
	for i := range 5000 {
		router.add(request("slow", i).NamespacedName)
	}
	for range count / 2 {
		<-stalled
	}
	for i := range 50 {
		router.add(request("shop", i).NamespacedName)
	}
	late := time.After(30 * time.Second)
	for i := range 50 {
		select {
		case <-served:
		case <-late:
			t.Fatalf("%d of 50 objects were worked on", i)
		}
	}
	if n := len(stalled); n != 0 {
		t.Errorf("%d more of the slow ones are worked on than half of the workers", n)
	}
	close(release)
	for range 5000 - count/2 { // none is forgotten
		select {
		case <-stalled:
		case <-late:
			t.Fatalf("%d of the slow ones were worked on", len(stalled))
		}
	}
}

// What a change asks for comes before what a list does, also when the list was
// first; what is asked for twice is worked on once.
func TestChangesComeBeforeLists(t *testing.T) {
	q := newTurnQueue("", retries(), 2)
	defer q.ShutDown()
	low := priorityqueue.AddOpts{Priority: ptr.To(handler.LowPriority)}
	for i := range 5 {
		q.AddWithOpts(low, request("shop", i))
	}
	q.Add(request("shop", 3))
	q.AddWithOpts(low, request("shop", 3))
	q.Add(request("shop", 9))
	next := func() string {
		r, _, _ := q.GetWithPriority()
		q.Done(r)
		return r.Name
	}
	for _, want := range []string{"3", "9", "0", "1", "2", "4"} {
		if got := next(); got != want {
			t.Errorf("next is %s, want %s", got, want)
		}
	}
	// While it is worked on, it is asked for again: first by a change.
	q.Add(request("shop", 0))
	r, _ := q.Get()
	q.Add(r)
	q.AddWithOpts(low, r, request("shop", 1))
	q.AddRateLimited(request("shop", 2))
	q.Done(r)
	for _, want := range []string{"0", "1", "2"} {
		if got := next(); got != want {
			t.Errorf("next is %s, want %s", got, want)
		}
	}
	if n := q.Len() + len(q.line.waiting) + len(q.line.later); n != 0 || !q.line.turns.Idle() {
		t.Errorf("%d are remembered at the end", n)
	}
}

// Every controller of what tenants write has its namespaces take turns.
func TestEveryQueueHasTurns(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	queues := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "signing.go" { // of the installation's own namespace
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if _, options, ok := strings.Cut(line, "WithOptions("); ok {
				if queues++; !strings.HasPrefix(options, "inTurns(") {
					t.Errorf("%s: a queue without turns: %s", name, strings.TrimSpace(line))
				}
			}
		}
	}
	if queues < 7 {
		t.Errorf("%d queues were found", queues)
	}
}
