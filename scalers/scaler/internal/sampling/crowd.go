package sampling

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// crowd bounds how many reads are under way, in all and of one namespace: each
// takes a goroutine and mostly a connection, and sources that do not answer keep
// both for as long as a read may take. Those beyond it wait where they take
// nothing, and of those it is the turn of the namespace with the fewest under
// way. It is guarded by Sampler.mu.
type crowd struct {
	most, ofOne int
	all         int
	callers     map[string]*caller
}

// caller is a namespace with reads under way or waiting.
type caller struct {
	underWay int
	waiting  []func() // are called once there is room, with Sampler.mu held
}

// fewestReads is what there may be under way of a namespace whatever the memory.
const fewestReads = 64

// newCrowd has room for reads that take a quarter of the memory that there may
// be, and half of that of one namespace.
func newCrowd() *crowd {
	most := max(int(budget.Part(4)/pool.UsualCost), 2*fewestReads)
	return &crowd{most: most, ofOne: most / 2, callers: map[string]*caller{}}
}

// room is true while a namespace may have another read.
func (c *crowd) room(namespace string) bool {
	of := c.callers[namespace]
	return c.all < c.most && (of == nil || of.underWay < c.ofOne)
}

func (c *crowd) caller(namespace string) *caller {
	of := c.callers[namespace]
	if of == nil {
		of = &caller{}
		c.callers[namespace] = of
	}
	return of
}

// enter counts a read, leave one that is over.
func (c *crowd) enter(namespace string) {
	c.caller(namespace).underWay++
	c.all++
}

func (c *crowd) leave(namespace string) {
	of := c.callers[namespace]
	of.underWay--
	c.all--
	if of.underWay == 0 && len(of.waiting) == 0 {
		delete(c.callers, namespace)
	}
	c.admit()
}

// wait has begin called when a namespace without room has some.
func (c *crowd) wait(namespace string, begin func()) {
	of := c.caller(namespace)
	of.waiting = append(of.waiting, begin)
}

// admit lets those begin who wait and have room.
func (c *crowd) admit() {
	for {
		namespace, of := c.next()
		if of == nil {
			return
		}
		begin := of.waiting[0]
		of.waiting[0] = nil
		of.waiting = of.waiting[1:]
		begin()
		if of.underWay == 0 && len(of.waiting) == 0 {
			delete(c.callers, namespace)
		}
	}
}

// next is the waiting namespace with the fewest under way that has room.
func (c *crowd) next() (namespace string, best *caller) {
	for name, of := range c.callers {
		if len(of.waiting) > 0 && c.room(name) && (best == nil || of.underWay < best.underWay) {
			namespace, best = name, of
		}
	}
	return namespace, best
}

// open has everybody begin: nothing is read any more.
func (c *crowd) open() {
	c.most, c.ofOne = math.MaxInt, math.MaxInt
	c.admit()
}

// payers are the namespaces that use the question, in order. Sampler.mu is held.
func (q *question) payers() []string {
	payers := make(map[string]struct{}, 1)
	for u := range q.users {
		payers[u.Payer] = struct{}{}
	}
	return slices.Sorted(maps.Keys(payers))
}

// namespace is whose read of the question is: of all together who use it. It is
// asked for often, and mostly there is one user. Sampler.mu is held.
func (q *question) namespace() string {
	if len(q.users) == 1 {
		for u := range q.users {
			return u.Payer
		}
	}
	return strings.Join(q.payers(), ",")
}
