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
	if b.workloads == nil {
		b.workloads = map[types.NamespacedName]workload{}
	}
	b.workloads[key] = workload{ref, now}
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
