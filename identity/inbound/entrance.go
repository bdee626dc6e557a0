package inbound

import (
	"context"
	"sync"
)

// Entrance is a Gate at which those who come from one address come for several: of
// each address, whoever it comes for that has the fewest inside is next. Both have
// bounds, so that nobody takes the places of others by saying whom it comes for, and
// nobody those of others at the same address.
type Entrance struct {
	ofAddress, ofOne int

	mu    sync.Mutex
	outer *Gate
	inner map[string]*innerGate
}

// innerGate is that of one address.
type innerGate struct {
	*Gate
	users int
}

// NewEntrance lets so many in at once, so many of them from one address, and of those
// so many for one.
func NewEntrance(most, ofAddress, ofOne int) *Entrance {
	return &Entrance{ofAddress: ofAddress, ofOne: ofOne, outer: NewGate(most, ofAddress), inner: map[string]*innerGate{}}
}

// Enter waits until a request from an address may be worked on that is for somebody,
// and returns what ends it. It is false when the turn does not come in time.
func (e *Entrance) Enter(ctx context.Context, address, of string) (leave func(), ok bool) {
	gate := e.use(address)
	inside, ok := gate.Enter(ctx, of)
	if !ok {
		e.done(address)
		return nil, false
	}
	through, ok := e.outer.Enter(ctx, address)
	if !ok {
		inside()
		e.done(address)
		return nil, false
	}
	return func() { through(); inside(); e.done(address) }, true
}

func (e *Entrance) use(address string) *Gate {
	e.mu.Lock()
	defer e.mu.Unlock()
	gate := e.inner[address]
	if gate == nil {
		gate = &innerGate{Gate: NewGate(e.ofAddress, e.ofOne)}
		e.inner[address] = gate
	}
	gate.users++
	return gate.Gate
}

func (e *Entrance) done(address string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gate := e.inner[address]
	if gate.users--; gate.users == 0 {
		delete(e.inner, address)
	}
}
