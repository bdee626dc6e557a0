package subscription

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// book remembers what the objects of one kind have subscribed, and whose targets
// were read. Of the targets themselves it keeps nothing: they outlive nothing by
// being in it.
type book struct {
	mu         sync.Mutex
	subscribed map[types.NamespacedName][]federation.ID
	// targets are those that were read, while they can be.
	targets map[types.NamespacedName]v1alpha1.ScaleTarget
	// unread are the objects whose targets could not be read, by namespace.
	unread map[string]map[string]bool
}

// read takes note that the target of an object was read.
func (b *book) read(key types.NamespacedName, ref v1alpha1.ScaleTarget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteRead(key)
	if b.targets == nil {
		b.targets = map[types.NamespacedName]v1alpha1.ScaleTarget{}
	}
	b.targets[key] = ref
}

// unknown takes note that an object has no target that is there.
func (b *book) unknown(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteRead(key)
	delete(b.targets, key)
}

// reads reports whether an object has subscribed by the target that it names now.
// One that it names no longer is forgotten.
func (b *book) reads(key types.NamespacedName, ref v1alpha1.ScaleTarget) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	last, ok := b.targets[key]
	if ok && last != ref {
		delete(b.targets, key)
	}
	return ok && last == ref
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
		delete(b.targets, key)
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
