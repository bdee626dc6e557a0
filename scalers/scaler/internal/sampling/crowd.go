package sampling

import (
	"maps"
	"math"
	"slices"

	"github.com/sluice-autoscaler/sluice/identity/turns"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// crowd bounds how many reads are under way, in all and of one namespace: each
// takes a goroutine and mostly a connection, and sources that do not answer keep
// both for as long as a read may take. Those beyond it wait where they take
// nothing, and of those it is the turn of the namespace with the fewest under
// way. It is guarded by Sampler.mu.
type crowd struct{ line *turns.Line[func()] }

// fewestReads is what there may be under way of a namespace whatever the memory.
const fewestReads = 64

// newCrowd has room for reads that take a quarter of the memory that there may
// be, and half of that of one namespace, which leaves as much to all others, and the
// last quarter to those with few.
func newCrowd() *crowd {
	most := max(int(budget.Part(4)/pool.UsualCost), 2*fewestReads)
	return &crowd{turns.NewLine[func()](most, most/2).Leaving(most / 64)}
}

// room is true while a namespace may have another read.
func (c *crowd) room(namespace string) bool { return c.line.Room(namespace) }

// enter counts a read, leave one that is over.
func (c *crowd) enter(namespace string) { c.line.Enter(namespace) }

func (c *crowd) leave(namespace string) {
	c.line.Leave(namespace)
	c.admit()
}

// wait has begin called when a namespace without room has some, with Sampler.mu
// held.
func (c *crowd) wait(namespace string, begin func()) { c.line.Wait(namespace, begin, false) }

// admit lets those begin who wait and have room. Whoever begins a read counts it.
func (c *crowd) admit() {
	for turn, ok := c.line.Next(); ok; turn, ok = c.line.Next() {
		c.line.Leave(turn.Of)
		turn.Value()
	}
}

// open has everybody begin: nothing is read any more.
func (c *crowd) open() {
	c.line.Resize(math.MaxInt, math.MaxInt)
	c.admit()
}

// payersOf are the namespaces that use any of the questions, in order. Sampler.mu
// is held.
func payersOf(questions ...*question) []string {
	payers := make(map[string]struct{}, 1)
	for _, q := range questions {
		for u := range q.users {
			payers[u.Payer] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(payers))
}

// fewest is the one of several namespaces that has the fewest reads under way. What
// they ask together is that one's.
func (c *crowd) fewest(namespaces []string) string {
	if len(namespaces) == 0 {
		return ""
	}
	return c.line.Fewest(namespaces)
}

// namespaceOf is whose read of the questions is. Sampler.mu is held.
func (s *Sampler) namespaceOf(questions ...*question) string {
	if len(questions) == 1 {
		return questions[0].namespace()
	}
	return s.crowd.fewest(payersOf(questions...))
}

// namespace is that of one question. It is asked for often, and mostly there is one
// user. Sampler.mu is held.
func (q *question) namespace() string {
	if len(q.users) == 1 {
		for u := range q.users {
			return u.Payer
		}
	}
	return q.crowd.fewest(payersOf(q))
}
