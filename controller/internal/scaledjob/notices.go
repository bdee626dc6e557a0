package scaledjob

import (
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
	of    map[string]int                                // how many they are, by namespace
}

// mostNotices is how many ends are remembered of the Jobs of a namespace. Others
// are dated when they are seen, which is later: until a reading is newer, they stand
// for work as if they ran.
const mostNotices = 10_000

// Ended takes note that a Job of a ScaledJob has just finished or was deleted
// unfinished.
func (r *Reconciler) Ended(owner types.NamespacedName, job string) {
	n := &r.notices
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(owner, map[string]time.Time{job: r.Now()})
}

// add takes note of ends, as far as there is room; n.mu is held.
func (n *notices) add(owner types.NamespacedName, ended map[string]time.Time) {
	if n.ended == nil {
		n.ended, n.of = map[types.NamespacedName]map[string]time.Time{}, map[string]int{}
	}
	known := n.ended[owner]
	for job, at := range ended {
		if _, noted := known[job]; !noted {
			if n.of[owner.Namespace] >= mostNotices {
				continue
			}
			n.of[owner.Namespace]++
		}
		if known == nil {
			known = map[string]time.Time{}
			n.ended[owner] = known
		}
		known[job] = at
	}
}

// take returns what was heard about the Jobs of a ScaledJob, and forgets it.
func (n *notices) take(owner types.NamespacedName) map[string]time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	ended, ok := n.ended[owner]
	if !ok {
		return nil
	}
	delete(n.ended, owner)
	if n.of[owner.Namespace] -= len(ended); n.of[owner.Namespace] <= 0 {
		delete(n.of, owner.Namespace)
	}
	return ended
}

// giveBack returns what was taken and could not be used. What was heard since
// is of other Jobs: each ends once.
func (n *notices) giveBack(owner types.NamespacedName, ended map[string]time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(owner, ended)
}

func (n *notices) takeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended, n.of = nil, nil
}
