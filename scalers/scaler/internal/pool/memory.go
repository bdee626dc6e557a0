package pool

import (
	"cmp"
	"context"
	"sync/atomic"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// Part is a shared connection that belongs to another one and takes next to
// nothing of its own. All others count in what connections may take, see
// --connection-memory.
type Part interface{ Part() }

// Costly is a shared connection that takes more memory than most, or less.
type Costly interface {
	// Cost is how many bytes it takes while it is read, about. It is called on a
	// value that is nil.
	Cost() int
}

// UsualCost is what a connection takes, or each further server of one: buffers,
// goroutines and what TLS keeps.
const UsualCost = 64 << 10

func costOf(connection any) int {
	switch c := connection.(type) {
	case Part:
		return 0
	case Costly:
		return c.Cost()
	default:
		return UsualCost
	}
}

// FurtherServers returns what a connection holds of --connection-memory for
// servers that it learns of, beside its own cost. ctx is that of its dial.
func FurtherServers(ctx context.Context) *Holding {
	if l := Of(ctx); l != nil {
		return l.holding(l.pool.memory)
	}
	return &Holding{of: connectionMemory(), payers: nobody}
}

// maxConnections is the flag, 0 for none.
var maxConnections atomic.Int64

// LimitMemory sets what connections may take together.
func LimitMemory(most int64) { maxConnections.Store(most) }

// connectionMemory is what connections may take: half of the memory that there
// may be, and those of one namespace half of that.
func connectionMemory() *Allowance {
	most := cmp.Or(maxConnections.Load(), budget.Part(2))
	a := NewAllowance("bytes of connections", int(most/2), int(most))
	a.flag = "--connection-memory"
	return a
}
