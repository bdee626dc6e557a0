package scaledjob

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// notices remember when the end of a Job was heard of, until the next reconcile
// of its ScaledJob. That may come later than a reading of the queue which the
// end was before.
type notices struct {
	mu    sync.Mutex
	ended map[types.NamespacedName]map[string]time.Time // by ScaledJob and name of the Job
}

// Ended takes note that a Job of a ScaledJob has just finished or was deleted
// unfinished.
func (r *Reconciler) Ended(owner types.NamespacedName, job string) {
	n := &r.notices
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended == nil {
		n.ended = map[types.NamespacedName]map[string]time.Time{}
	}
	if n.ended[owner] == nil {
		n.ended[owner] = map[string]time.Time{}
	}
	n.ended[owner][job] = r.Now()
}

// take returns what was heard about the Jobs of a ScaledJob, and forgets it.
func (n *notices) take(owner types.NamespacedName) map[string]time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	ended := n.ended[owner]
	delete(n.ended, owner)
	return ended
}

// giveBack returns what was taken and could not be used. What was heard since
// is of other Jobs: each ends once.
func (n *notices) giveBack(owner types.NamespacedName, ended map[string]time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(ended) == 0 {
		return
	}
	if n.ended == nil {
		n.ended = map[types.NamespacedName]map[string]time.Time{}
	}
	maps.Copy(ended, n.ended[owner])
	n.ended[owner] = ended
}

func (n *notices) takeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = nil
}
