package wire

import (
	"cmp"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// errCrowded is the refusal of a server whose answers take the most memory,
// when all together take too much.
var errCrowded = ofAllError{errors.New("the server sent more than others, or no more of a large answer, while they all sent too much")}

// everything is what the servers of the process send for reads under way. One
// endpoint keeps within its own limit, and many of them may still be too much:
// then the largest goes of the namespace that has the most, so that a crowd does
// not keep those waiting who send little, and many small ones of one namespace
// have no larger one of another go; and sooner one that has fallen silent.
var everything = &ledger{limit: sync.OnceValue(share), conns: map[*conn]struct{}{}}

// share is a quarter of the memory that there may be: what is made of an answer
// takes more than the answer.
func share() int64 { return budget.Part(4) }

type ledger struct {
	limit func() int64
	bytes atomic.Int64

	mu    sync.Mutex
	conns map[*conn]struct{} // whose bytes are counted
}

func (l *ledger) open(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
}

func (l *ledger) close(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// largest is the endpoint that weighs the most, of the namespace whose endpoints
// do; nil where none weighs anything. One that several share weighs on each of them
// in equal parts, and is of the one that has the least. l.mu is held.
func (l *ledger) largest(now time.Time) (largest *Meter) {
	type endpoint struct {
		weight int64
		owners []string
		least  int64 // of what an owner has in all
	}
	endpoints, of := map[*Meter]*endpoint{}, map[string]int64{}
	for c := range l.conns {
		if endpoints[c.meter] != nil {
			continue
		}
		e := &endpoint{weight: c.meter.weight(now), owners: c.meter.ownedBy(now)}
		endpoints[c.meter] = e
		for _, owner := range e.owners {
			of[owner] += e.weight / int64(len(e.owners))
		}
	}
	for m, e := range endpoints {
		e.least = of[e.owners[0]]
		for _, owner := range e.owners[1:] {
			e.least = min(e.least, of[owner])
		}
		if e.weight == 0 {
			continue
		}
		if largest == nil || cmp.Or(cmp.Compare(e.least, endpoints[largest].least), cmp.Compare(e.weight, endpoints[largest].weight)) > 0 {
			largest = m
		}
	}
	return largest
}

// makeRoom ends the connections of the largest endpoint, where all have sent too
// much. No lock of a meter is held.
func (l *ledger) makeRoom(now time.Time) {
	if l.bytes.Load() <= l.limit() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.bytes.Load() > l.limit() {
		largest := l.largest(now)
		if largest == nil {
			return // what is left is of connections that have ended
		}
		for c := range l.conns {
			if c.meter == largest {
				c.refuse(errCrowded)
			}
		}
		largest.drop()
	}
}
