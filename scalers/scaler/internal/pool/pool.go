// Package pool keeps the connections that sources share, and bounds how many
// reads they carry and what they take.
package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// Shared is the function of that name of package client.
func Shared[V any](ctx context.Context, params any, dial func(context.Context) (V, error)) (V, error) {
	var none V
	lease := Of(ctx)
	if lease == nil {
		return none, errors.New("no pool of connections: Shared is called with the context of Open")
	}
	id := sharedID{connection: reflect.TypeFor[V](), params: fingerprint.OfValue(params), hosts: fmt.Sprintf("%#v", lease.allowed)}
	value, err := lease.take(ctx, id, costOf(none), func(ctx context.Context) (any, error) { return dial(ctx) })
	if err != nil {
		return none, err
	}
	return value.(V), nil
}

// sharedID is what two equal connections have in common.
type sharedID struct {
	connection reflect.Type
	params     string // fingerprint of what it is made of
	hosts      string // that its credentials may be sent to
}

// Pool holds the connections of one process.
type Pool struct {
	mu          sync.Mutex
	connections map[sharedID]*connection

	Config
	outside bool       // of a family, where nobody says when a source is read
	memory  *Allowance // that they take, by namespace
}

// Config is what a pool may be told.
type Config struct {
	// Book notes which endpoints are read; nil for none.
	Book *suspects.Book
	// Changed is told how many connections stand; nil for nobody.
	Changed func(connections int)
}

// New makes a pool without connections.
func New(c Config) *Pool {
	if c.Changed == nil {
		c.Changed = func(int) {}
	}
	return &Pool{Config: c, connections: map[sharedID]*connection{}, memory: connectionMemory()}
}

// connection is one entry of the pool. Fields below users are written once,
// before ready is closed.
type connection struct {
	pool   *Pool
	id     sharedID
	users  map[*Lease]int // how often each has taken it; guarded by pool.mu
	stop   context.CancelFunc
	memory *Holding

	ready  chan struct{}
	value  any
	err    error
	places *Places // for the reads that go to the endpoint
	own    *Lease  // what the dial took itself
}

type leaseKey struct{}

// Lease is what one source, or one connection, has taken from the pool.
type Lease struct {
	pool    *Pool
	allowed []string   // hosts; nil for any
	meter   wire.Meter // of what is dialled for it
	// payers are the namespaces that use it now, at least one.
	payers func() []string
	// GiveUp has whoever took it release it soon, so that others have room; nil for
	// nobody. It is set before anything is taken, and called with no lock held.
	GiveUp func()

	mu      sync.Mutex
	taken   []*connection
	metered []*wire.Meter // as of the first read
	ended   bool
}

// Lease returns what a source may take connections with. payers are the
// namespaces that use it now, called with no lock held; nil for nobody's.
func (p *Pool) Lease(hosts []string, payers func() []string) *Lease {
	l := &Lease{pool: p, allowed: hosts, payers: func() []string {
		if payers != nil {
			if all := payers(); len(all) > 0 {
				return all
			}
		}
		return nobody()
	}}
	if !p.outside {
		l.meter.OwnedBy(l.payers)
	}
	return l
}

// holding is what is held for the lease.
func (l *Lease) holding(of *Allowance) *Holding {
	return &Holding{of: of, payers: l.payers, giveUp: l.GiveUp}
}

// Payers are the namespaces that use it now, at least one.
func (l *Lease) Payers() []string { return l.payers() }

// Of is that of an Open's ctx, or of a dial's; nil for any other.
func Of(ctx context.Context) *Lease {
	l, _ := ctx.Value(leaseKey{}).(*Lease)
	return l
}

// Hosts are those that may be dialled; nil for any.
func (l *Lease) Hosts() []string { return l.allowed }

// Endpoint counts what is dialled for the lease.
func (l *Lease) Endpoint() *wire.Meter { return &l.meter }

// Book notes which endpoints are read; nil for none.
func (l *Lease) Book() *suspects.Book { return l.pool.Book }

// Opening has what is received until the returned function is called counted as
// that of one read.
func (l *Lease) Opening() (done func()) {
	l.meter.Begin()
	return l.meter.End
}

// Reading does so for everything that a read of the source may have to wait for.
// What was taken for it stands by then.
func (l *Lease) Reading() (done func()) {
	meters := l.meters()
	for _, m := range meters {
		m.Begin()
	}
	return func() {
		for _, m := range meters {
			m.End()
		}
	}
}

// Context returns a ctx in which Shared takes connections for the lease.
func (l *Lease) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// take waits for the connection, dialling if nobody else does.
func (l *Lease) take(ctx context.Context, id sharedID, cost int, dial func(context.Context) (any, error)) (any, error) {
	c, err := l.pool.join(ctx, id, l, cost, dial)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.ready:
	case <-ctx.Done():
		c.release(l)
		return nil, context.Cause(ctx)
	}
	if c.err != nil {
		c.release(l)
		return nil, c.err
	}
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.taken = append(l.taken, c)
	}
	l.mu.Unlock()
	if ended {
		c.release(l)
		return nil, errors.New("the source was closed while it was opened")
	}
	return c.value, nil
}

// Places are those of the connection that stands for the lease's backend, or nil.
func (l *Lease) Places() *Places {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.taken) == 0 {
		return nil
	}
	return l.taken[0].places
}

// meters are those of everything that a read of the source may have to wait
// for: its own, and those of the connections that were taken for it.
func (l *Lease) meters() []*wire.Meter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.metered == nil {
		l.metered = []*wire.Meter{&l.meter}
		for _, c := range l.taken {
			l.metered = append(l.metered, c.own.meters()...)
		}
	}
	return l.metered
}

// Sharing is how many use the connection that stands for the lease's backend,
// at least 1.
func (l *Lease) Sharing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.taken) == 0 {
		return 1
	}
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return len(l.taken[0].users)
}

// Release gives everything back, last taken first. It may be called twice.
func (l *Lease) Release() {
	l.mu.Lock()
	taken := l.taken
	l.taken, l.ended = nil, true
	l.mu.Unlock()
	for i := len(taken) - 1; i >= 0; i-- {
		taken[i].release(l)
	}
	l.meter.Release()
}

// join counts the lease as a user of the connection, and starts its dial when
// that is the first.
func (p *Pool) join(ctx context.Context, id sharedID, by *Lease, cost int, dial func(context.Context) (any, error)) (*connection, error) {
	if c := p.joined(id, by); c != nil {
		return c, nil
	}
	memory := &Holding{of: p.memory, payers: by.payers}
	c := &connection{pool: p, id: id, users: map[*Lease]int{by: 1}, memory: memory, ready: make(chan struct{})}
	memory.giveUp = c.giveUp
	if err := memory.Set(cost); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if there := p.connections[id]; there != nil { // somebody else was faster
		there.users[by]++
		_ = memory.Set(0) // never refused
		return there, nil
	}
	// Whoever joins later may wait longer than the first, so the first one's
	// deadline does not end the dial; the last one leaving does.
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.own = p.Lease(by.allowed, c.payers)
	c.own.GiveUp = c.giveUp
	p.connections[id] = c
	p.Changed(len(p.connections))
	go c.dial(ctx, dial)
	return c, nil
}

// joined counts the lease as a user of a connection that is there.
func (p *Pool) joined(id sharedID, by *Lease) *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.connections[id]
	if c != nil {
		c.users[by]++
	}
	return c
}

// giveUp has all who use the connection release it. Nobody joins it any more: whoever
// comes next has one of their own, if there is room.
func (c *connection) giveUp() {
	c.pool.mu.Lock()
	users := slices.Collect(maps.Keys(c.users))
	c.hide()
	c.pool.mu.Unlock()
	for _, user := range users {
		if user.GiveUp != nil {
			user.GiveUp()
		}
	}
}

// payers are the namespaces of all who use the connection.
func (c *connection) payers() []string {
	c.pool.mu.Lock()
	users := slices.Collect(maps.Keys(c.users))
	c.pool.mu.Unlock()
	var payers []string
	for _, user := range users {
		for _, payer := range user.payers() {
			if !slices.Contains(payers, payer) {
				payers = append(payers, payer)
			}
		}
	}
	return payers // none when it is about to be closed
}

// dial ends when the connection stands or cannot be had, at the latest soon
// after the last user left. If nobody waits any more, what was dialled is
// closed again.
func (c *connection) dial(ctx context.Context, dial func(context.Context) (any, error)) {
	defer c.stop()
	c.own.meter.Begin()
	value, err := dialSafely(c.own.Context(ctx), dial)
	c.own.meter.End()

	c.pool.mu.Lock()
	c.value, c.err, c.places = value, err, NewPlaces(value)
	abandoned := len(c.users) == 0
	if err != nil {
		c.forget()
	}
	close(c.ready)
	c.pool.mu.Unlock()

	if err != nil || abandoned {
		c.close()
	}
}

// dialSafely turns a panic of dial into its error: it runs on a goroutine of
// its own, where a panic would end the process.
func dialSafely(ctx context.Context, dial func(context.Context) (any, error)) (value any, err error) {
	defer defect.Recovered("dial", &err)
	return dial(ctx)
}

// release counts the caller out and closes the connection after the last.
func (c *connection) release(by *Lease) {
	c.pool.mu.Lock()
	if c.users[by]--; c.users[by] == 0 {
		delete(c.users, by)
	}
	last := len(c.users) == 0
	if last {
		c.forget()
	}
	dialled := false
	select {
	case <-c.ready:
		dialled = true
	default:
	}
	c.pool.mu.Unlock()
	if !last {
		return
	}
	c.stop()
	if dialled && c.err == nil {
		c.close()
	}
}

// forget takes the connection out of the pool, and what it holds; pool.mu is held.
func (c *connection) forget() {
	c.hide()
	_ = c.memory.Set(0) // never refused
}

// hide takes the connection out of the pool; pool.mu is held.
func (c *connection) hide() {
	if c.pool.connections[c.id] == c {
		delete(c.pool.connections, c.id)
		c.pool.Changed(len(c.pool.connections))
	}
}

func (c *connection) close() {
	if closer, ok := c.value.(io.Closer); ok && c.err == nil {
		closer.Close() // nobody is left who could do anything about its error
	}
	c.own.Release()
}

// Opening returns a ctx in which an Open may be called outside of a family, as
// tests of a source do, and the function that releases what it took.
func Opening(ctx context.Context) (context.Context, func()) {
	p := New(Config{})
	p.outside = true
	l := p.Lease(nil, nil)
	return l.Context(ctx), l.Release
}
