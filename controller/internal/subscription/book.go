package subscription

import (
	"slices"
	"sync"
	"time"

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
	// unread are the objects whose targets could not be read, and refused those of
	// whose triggers some were not taken.
	unread, refused again
}

// again are objects that are looked at again, by namespace.
type again map[string]map[string]bool

// add takes note of one, and returns how many there are of its namespace.
func (a *again) add(key types.NamespacedName) int {
	if *a == nil {
		*a = again{}
	}
	of := (*a)[key.Namespace]
	if of == nil {
		of = map[string]bool{}
		(*a)[key.Namespace] = of
	}
	of[key.Name] = true
	return len(of)
}

func (a again) remove(key types.NamespacedName) {
	if of := a[key.Namespace]; of != nil {
		if delete(of, key.Name); len(of) == 0 {
			delete(a, key.Namespace)
		}
	}
}

// read takes note that the target of an object was read.
func (b *book) read(key types.NamespacedName, ref v1alpha1.ScaleTarget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread.remove(key)
	if b.targets == nil {
		b.targets = map[types.NamespacedName]v1alpha1.ScaleTarget{}
	}
	b.targets[key] = ref
}

// unknown takes note that an object has no target that is there.
func (b *book) unknown(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread.remove(key)
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
	return b.unread.add(key)
}

// enter replaces what an object had subscribed, and returns when those of its
// triggers are to be subscribed again that were not taken, 0 for none.
func (b *book) enter(families Federation, key types.NamespacedName, triggers []federation.Trigger) time.Duration {
	now := make([]federation.ID, 0, len(triggers))
	for _, t := range triggers {
		if families.Subscribe(t) {
			now = append(now, t.ID)
		}
	}
	before, later := b.replace(key, now, len(now) < len(triggers))
	for _, id := range before {
		if !slices.Contains(now, id) {
			families.Unsubscribe(id)
		}
	}
	return later
}

func (b *book) replace(key types.NamespacedName, now []federation.ID, refused bool) (before []federation.ID, later time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before = b.subscribed[key]
	if b.subscribed == nil {
		b.subscribed = map[types.NamespacedName][]federation.ID{}
	}
	if refused {
		later = lookAgain(b.refused.add(key))
	} else {
		b.refused.remove(key)
	}
	if len(now) == 0 {
		delete(b.subscribed, key)
		delete(b.targets, key)
	} else {
		b.subscribed[key] = now
	}
	if len(now) == 0 && !refused {
		b.unread.remove(key)
	}
	return before, later
}
