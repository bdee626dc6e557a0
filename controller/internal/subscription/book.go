package subscription

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// book remembers what the objects of one kind have subscribed.
type book struct {
	mu         sync.Mutex
	subscribed map[types.NamespacedName][]federation.ID
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
		delete(b.subscribed, key)
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
