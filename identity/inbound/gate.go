package inbound

import (
	"context"
	"net"
	"sync"

	"github.com/sluice-autoscaler/sluice/identity/turns"
)

// Gate lets so many requests in at once. Whose address has the fewest inside is
// next, so that a flood from one address keeps no other waiting.
type Gate struct {
	mu   sync.Mutex
	line *turns.Line[chan struct{}]
}

// turn is one request that waits; its channel is closed when it may enter.
type turn = turns.Turn[chan struct{}]

// NewGate lets so many in at once, so many of them from one address.
func NewGate(most, ofOne int) *Gate { return &Gate{line: turns.NewLine[chan struct{}](most, ofOne)} }

// Leaving is that of the line.
func (g *Gate) Leaving(few int) *Gate {
	g.line.Leaving(few)
	return g
}

// Enter waits until a request from an address may be worked on, and returns what
// ends it. It is false when the turn does not come in time. A request of several is
// one of whoever has the fewest.
func (g *Gate) Enter(ctx context.Context, of ...string) (leave func(), ok bool) {
	leave, t := g.wait(of)
	if t == nil {
		return leave, true
	}
	select {
	case <-t.Value:
		return leave, true
	case <-ctx.Done():
	}
	if g.giveUp(t) {
		return nil, false
	}
	leave() // it came at the same moment
	return nil, false
}

// Try is Enter for a request that does not wait.
func (g *Gate) Try(of ...string) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	address := g.line.Fewest(of)
	if !g.line.Room(address) {
		return nil, false
	}
	g.line.Enter(address)
	return func() { g.leave(address) }, true
}

// wait has a request wait for its turn, nil where it is at once. Where there is room,
// nobody waits who could have it.
func (g *Gate) wait(of []string) (leave func(), t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	address := g.line.Fewest(of)
	leave = func() { g.leave(address) }
	if g.line.Room(address) {
		g.line.Enter(address)
		return leave, nil
	}
	return leave, g.line.Wait(address, make(chan struct{}), false)
}

// admit lets in who is next, as long as there is room; g.mu is held.
func (g *Gate) admit() {
	for t, ok := g.line.Next(); ok; t, ok = g.line.Next() {
		close(t.Value)
	}
}

func (g *Gate) leave(address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.line.Leave(address)
	g.admit()
}

// giveUp takes a turn back and reports whether it had not come.
func (g *Gate) giveUp(t *turn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.line.GiveUp(t)
}

// HostOf is an address without its port.
func HostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
