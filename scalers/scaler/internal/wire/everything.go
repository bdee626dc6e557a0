package wire

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// errCrowded is the refusal of a server whose answers take the most memory,
// when all together take too much.
var errCrowded = errors.New("the server sent more than others, or no more of a large answer, while they all sent too much")

// everything is what the servers of the process send for reads under way. One
// endpoint keeps within its own limit, and many of them may still be too much:
// then it is the largest that goes, so that a crowd does not keep those waiting
// who send little; and sooner one that has fallen silent.
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

// makeRoom ends the connections of the endpoint that weighs the most, where all
// have sent too much. No lock of a meter is held.
func (l *ledger) makeRoom(now time.Time) {
	if l.bytes.Load() <= l.limit() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.bytes.Load() > l.limit() {
		weights := map[*Meter]int64{}
		var largest *Meter
		for c := range l.conns {
			weights[c.meter] = c.meter.weight(now)
			if largest == nil || weights[c.meter] > weights[largest] {
				largest = c.meter
			}
		}
		if largest == nil || weights[largest] == 0 {
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
