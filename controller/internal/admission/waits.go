package admission

import (
	"context"
	"sync"
)

// Judging takes no time but where something is waited for: a target that is about
// to show in the cache, a family, the API server. All reviews come from a few API
// servers and share the places of those, so waiting has fewer: whoever may create
// objects in one namespace holds up nobody in another.
const (
	// mostWait is how many reviews may wait at once, mostOfNamespace of them of one
	// namespace. It is less than the places of one API server.
	mostWait, mostOfNamespace = mostOfOne - 2, mostOfOne / 2
)

// waits counts the reviews that may wait.
type waits struct {
	mu  sync.Mutex
	all int
	of  map[string]int
}

// within is a context to judge an object of a namespace in. Where too many wait
// already it is done: nothing is waited for, and patient is false.
func (w *waits) within(ctx context.Context, namespace string) (judging context.Context, end func(), patient bool) {
	judging, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= mostWait || w.of[namespace] >= mostOfNamespace {
		cancel()
		return judging, cancel, false
	}
	if w.of == nil {
		w.of = map[string]int{}
	}
	w.all++
	w.of[namespace]++
	return judging, func() { cancel(); w.leave(namespace) }, true
}

func (w *waits) leave(namespace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.of[namespace]--; w.of[namespace] == 0 {
		delete(w.of, namespace)
	}
}
