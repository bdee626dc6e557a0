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

// recently shares what was read or found out a moment ago. The HPA controller
// asks for one metric of an object after the other, and an answer may need the
// same twice: that costs the API server one request, not one each. Failures are
// not kept. There is room for what is asked for within the moment.
type recently[K comparable, V any] struct {
	mu      sync.Mutex
	answers map[K]*answer[V]
	reading sync.WaitGroup
}

type answer[V any] struct {
	done  chan struct{} // closed when there are value and err
	value V
	err   error
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
			if a.err != nil {
				ago = 0
			}
			r.forget(of, ago)
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
	if a, found := r.answers[of]; found {
		return a, false
	}
	if r.answers == nil {
		r.answers = map[K]*answer[V]{}
	}
	a = &answer[V]{done: make(chan struct{})}
	r.answers[of] = a
	return a, true
}

// forget makes room after a while; nobody replaces an answer before.
func (r *recently[K, V]) forget(of K, after time.Duration) {
	if after > 0 {
		guard.AfterFunc(after, "a read for the HPA", func() { r.forget(of, 0) })
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.answers, of)
}
