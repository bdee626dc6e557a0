package subscription

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// book remembers what the objects of one kind have subscribed, and of what
// workloads.
type book struct {
	mu         sync.Mutex
	subscribed map[types.NamespacedName][]federation.ID
	workloads  map[types.NamespacedName]workload
	// unread are the objects whose targets could not be read, by namespace.
	unread map[string]map[string]bool
}

// workload is a target as it was last read.
type workload struct {
	ref v1alpha1.ScaleTarget
	federation.Workload
}

// read takes note of the workload of an object.
func (b *book) read(key types.NamespacedName, ref v1alpha1.ScaleTarget, now federation.Workload) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteRead(key)
	if b.workloads == nil {
		b.workloads = map[types.NamespacedName]workload{}
	}
	b.workloads[key] = workload{ref, now}
}

// couldNotRead takes note that the target of an object could not be read, and
// returns how many there are of those in its namespace.
func (b *book) couldNotRead(key types.NamespacedName) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unread == nil {
		b.unread = map[string]map[string]bool{}
	}
	of := b.unread[key.Namespace]
	if of == nil {
		of = map[string]bool{}
		b.unread[key.Namespace] = of
	}
	of[key.Name] = true
	return len(of)
}

// noteRead is told of an object of which nothing is left to be read; b.mu is held.
func (b *book) noteRead(key types.NamespacedName) {
	if of := b.unread[key.Namespace]; of != nil {
		if delete(of, key.Name); len(of) == 0 {
			delete(b.unread, key.Namespace)
		}
	}
}

// workload is that of an object as it was last read, else one at zero.
func (b *book) workload(key types.NamespacedName, ref v1alpha1.ScaleTarget) federation.Workload {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.workloads[key]; ok && last.ref == ref {
		return last.Workload
	}
	return federation.Workload{Mode: federation.Idle}
}

// enter replaces what an object had subscribed.
func (b *book) enter(families Federation, key types.NamespacedName, triggers []federation.Trigger) {
	now := make([]federation.ID, 0, len(triggers))
	for _, t := range triggers {
		families.Subscribe(t)
		now = append(now, t.ID)
	}
	b.mu.Lock()
	before := b.subscribed[key]
	if b.subscribed == nil {
		b.subscribed = map[types.NamespacedName][]federation.ID{}
	}
	if len(now) == 0 {
		b.noteRead(key)
		delete(b.subscribed, key)
		delete(b.workloads, key)
	} else {
		b.subscribed[key] = now
	}
	b.mu.Unlock()
	for _, id := range before {
		if !slices.Contains(now, id) {
			families.Unsubscribe(id)
		}
	}
}
