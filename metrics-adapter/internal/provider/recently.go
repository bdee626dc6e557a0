package provider

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
)

// scaleTarget tells scale targets apart.
type scaleTarget struct {
	kind schema.GroupVersionKind
	name types.NamespacedName
}

func (t scaleTarget) namespace() string { return t.name.Namespace }

// What answers of a moment may take, by namespace and in all. What there is no room
// for is found out anew.
var (
	answersOfOne = room{count: 1_000, bytes: 8 << 20}
	answersInAll = room{count: 10_000, bytes: 32 << 20}
)

// recently shares what was read or found out a moment ago. The HPA controller
// asks for one metric of an object after the other, and an answer may need the
// same twice: that costs the API server one request, not one each. Failures are
// not kept.
type recently[K namespaced, V sized] struct {
	mu      sync.Mutex
	answers shelf[K, *answer[V]]
	reading sync.WaitGroup
}

// sized is what says how many bytes it takes.
type sized interface{ size() int }

type answer[V any] struct {
	done  chan struct{} // closed when there are value and err
	value V
	err   error
	end   *time.Timer // makes room after a while
}

// get is what read returned at most so long ago. Who asks while it is being
// read waits for it, each as long as its own ctx.
func (r *recently[K, V]) get(ctx context.Context, of K, ago time.Duration, read func(context.Context) (V, error)) (V, error) {
	a, first := r.answer(of)
	if first {
		guard.Go(&r.reading, "a read for the HPA", fmt.Sprint(of), func() {
			// Others wait for it too, who may have longer than the first.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Budget)
			defer cancel()
			a.err = guard.Call("a read for the HPA", fmt.Sprint(of), func() (err error) {
				a.value, err = read(ctx)
				return err
			})
			r.settle(of, a, ago)
			close(a.done)
		})
	}
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none V
		return none, context.Cause(ctx)
	}
}

// answer is the one there is, or a new one for the first who asks.
func (r *recently[K, V]) answer(of K) (a *answer[V], first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, found := r.answers.get(of); found {
		return a, false
	}
	a = &answer[V]{done: make(chan struct{})}
	r.put(of, a, 0)
	return a, true
}

// settle counts what an answer takes, and has it end after a while.
func (r *recently[K, V]) settle(of K, a *answer[V], ago time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, found := r.answers.get(of); !found || now != a {
		return // there was no room for it
	}
	if a.err != nil {
		r.answers.remove(of)
		return
	}
	a.end = guard.AfterFunc(ago, "a read for the HPA", func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if now, found := r.answers.get(of); found && now == a {
			r.answers.remove(of)
		}
	})
	r.put(of, a, a.value.size())
}

// put keeps an answer of so many bytes; r.mu is held.
func (r *recently[K, V]) put(of K, a *answer[V], bytes int) {
	for _, gone := range r.answers.put(of, a, bytes, answersOfOne, answersInAll) {
		if gone.end != nil {
			gone.end.Stop() // it would hold what is no longer kept
		}
	}
}
