package computing

import (
	"context"
	"sync"
	"time"
)

// longest is how long a turn may last until it is overdue. Work is called far more
// often than that, unless something takes longer than whoever wrote it thought.
const longest = 50 * slice

// overdue are the namespaces with turns that do not end. Others take their places
// then, so that they do not wait for what nobody can stop; of the namespace itself
// nothing more is computed until they have ended.
var overdue = waiting{of: map[string]*late{}}

type waiting struct {
	mu sync.Mutex
	of map[string]*late
}

type late struct {
	turns int
	ended chan struct{}
}

// place is one at the gate.
type place struct {
	namespace string
	leaveGate func()
	expiry    *time.Timer
	late      bool // others have it
	left      bool
}

// enter waits for a place, and returns what leaves it. It is false when there is
// none in time.
func enter(ctx context.Context, namespace string) (leave func(), ok bool) {
	for {
		if l := overdue.late(namespace); l != nil {
			select {
			case <-l.ended:
				continue
			case <-ctx.Done():
				return nil, false
			}
		}
		leaveGate, ok := gate().Enter(ctx, namespace)
		if !ok {
			return nil, false
		}
		if overdue.late(namespace) == nil { // nor since then
			p := &place{namespace: namespace, leaveGate: leaveGate}
			p.expiry = time.AfterFunc(longest, p.expire)
			return p.leave, true
		}
		leaveGate()
	}
}

// late are the turns of a namespace that are overdue, nil for none.
func (w *waiting) late(namespace string) *late {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of[namespace]
}

func (p *place) expire() {
	overdue.mu.Lock()
	defer overdue.mu.Unlock()
	if p.left {
		return
	}
	p.late = true
	l := overdue.of[p.namespace]
	if l == nil {
		l = &late{ended: make(chan struct{})}
		overdue.of[p.namespace] = l
	}
	l.turns++
	p.leaveGate()
}

func (p *place) leave() {
	p.expiry.Stop()
	overdue.mu.Lock()
	defer overdue.mu.Unlock()
	p.left = true
	if !p.late {
		p.leaveGate()
		return
	}
	l := overdue.of[p.namespace]
	if l.turns--; l.turns == 0 {
		delete(overdue.of, p.namespace)
		close(l.ended)
	}
}
