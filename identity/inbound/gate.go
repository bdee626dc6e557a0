package inbound

import (
	"context"
	"net"
	"sync"
	"time"
)

// Gate lets so many requests in at once. Whose address has the fewest inside is
// next, so that a flood from one address keeps no other waiting.
type Gate struct {
	most, ofOne int

	mu     sync.Mutex
	inside int
	// callers are those who have a request inside or waiting.
	callers map[string]*caller
}

// NewGate lets so many in at once, so many of them from one address.
func NewGate(most, ofOne int) *Gate { return &Gate{most: most, ofOne: ofOne} }

// caller is an address with requests here.
type caller struct {
	inside  int
	waiting []*turn
}

// turn is one request that waits.
type turn struct {
	since time.Time
	come  chan struct{} // closed when it may enter
}

// Enter waits until a request from an address may be worked on, and returns what
// ends it. It is false when the turn does not come in time.
func (g *Gate) Enter(ctx context.Context, address string) (leave func(), ok bool) {
	c, t := g.line(address)
	leave = func() { g.leave(address, c) }
	select {
	case <-t.come:
		return leave, true
	case <-ctx.Done():
	}
	if g.giveUp(address, c, t) {
		return nil, false
	}
	leave() // it came at the same moment
	return nil, false
}

// Try is Enter for a request that does not wait.
func (g *Gate) Try(address string) (leave func(), ok bool) {
	c, t := g.line(address)
	if g.giveUp(address, c, t) {
		return nil, false
	}
	return func() { g.leave(address, c) }, true
}

// line has a request from an address wait for its turn, which may be at once.
func (g *Gate) line(address string) (*caller, *turn) {
	t := &turn{since: time.Now(), come: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.callers == nil {
		g.callers = map[string]*caller{}
	}
	c := g.callers[address]
	if c == nil {
		c = &caller{}
		g.callers[address] = c
	}
	c.waiting = append(c.waiting, t)
	g.admit()
	return c, t
}

// admit lets in who is next, as long as there is room; g.mu is held.
func (g *Gate) admit() {
	for g.inside < g.most {
		next := g.next()
		if next == nil {
			return
		}
		g.inside++
		next.inside++
		close(next.waiting[0].come)
		next.waiting = next.waiting[1:]
	}
}

// next is the waiting caller with the fewest requests inside, of equals the one
// that has waited longest.
func (g *Gate) next() (best *caller) {
	for _, c := range g.callers {
		switch {
		case len(c.waiting) == 0 || c.inside >= g.ofOne:
		case best == nil, c.inside < best.inside,
			c.inside == best.inside && c.waiting[0].since.Before(best.waiting[0].since):
			best = c
		}
	}
	return best
}

func (g *Gate) leave(address string, c *caller) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	c.inside--
	g.forget(address, c)
	g.admit()
}

// giveUp takes a turn back and reports whether it had not come.
func (g *Gate) giveUp(address string, c *caller, t *turn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range c.waiting {
		if other == t {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			g.forget(address, c)
			return true
		}
	}
	return false
}

func (g *Gate) forget(address string, c *caller) {
	if c.inside == 0 && len(c.waiting) == 0 {
		delete(g.callers, address)
	}
}

// HostOf is an address without its port.
func HostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
