package scaler

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
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// Shared returns the connection for key, dialled at most once at a time and
// shared by all sources that ask for an equal key of the same type. It is
// called from Open with Open's ctx; the connection is released when the source
// that Open returns is closed. With the last one the connection is closed too, if
// it is an io.Closer.
//
// key has everything that tells one connection from another: the endpoint, and
// the credentials by their Fingerprint. A failed dial is returned to all who
// wait for it and not remembered.
//
// A dial goes on for as long as anybody waits for it, so its ctx may outlive
// that of the caller who happened to be first. A dial may call Shared itself
// with its own ctx; what it takes is released after the connection is closed.
func Shared[K comparable, V any](ctx context.Context, key K, dial func(context.Context) (V, error)) (V, error) {
	var none V
	lease, ok := ctx.Value(leaseKey{}).(*lease)
	if !ok {
		return none, errors.New("no pool of connections: Shared is called with the context of Open")
	}
	id := sharedID{connection: reflect.TypeFor[V](), key: key, hosts: fmt.Sprintf("%#v", lease.hosts)}
	value, err := lease.take(ctx, id, costOf(none), func(ctx context.Context) (any, error) { return dial(ctx) })
	if err != nil {
		return none, err
	}
	return value.(V), nil
}

// sharedID is what two equal connections have in common.
type sharedID struct {
	connection reflect.Type
	key        any
	hosts      string // that its credentials may be sent to
}

// pool holds the connections of one process.
type pool struct {
	mu          sync.Mutex
	connections map[sharedID]*connection

	poolConfig
	memory *Allowance // that they take, by namespace
}

// poolConfig is what a pool may be told.
type poolConfig struct {
	// book notes which endpoints are read; nil for none.
	book *suspects.Book
	// changed is told how many connections stand; nil for nobody.
	changed func(connections int)
}

func newPool(c poolConfig) *pool {
	if c.changed == nil {
		c.changed = func(int) {}
	}
	return &pool{poolConfig: c, connections: map[sharedID]*connection{}, memory: connectionMemory()}
}

// connection is one entry of the pool. Fields below users are written once,
// before ready is closed.
type connection struct {
	pool   *pool
	id     sharedID
	users  map[*lease]int // how often each has taken it; guarded by pool.mu
	stop   context.CancelFunc
	memory *Holding

	ready  chan struct{}
	value  any
	err    error
	places *places // for the reads that go to the endpoint
	own    *lease  // what the dial took itself
}

type leaseKey struct{}

// lease is what one source, or one connection, has taken from the pool.
type lease struct {
	pool  *pool
	hosts []string   // that may be dialled; nil for any
	meter wire.Meter // of what is dialled for it
	// payers are the namespaces that use it now, at least one. It is called with
	// no lock held.
	payers func() []string

	mu    sync.Mutex
	taken []*connection
	ended bool
}

func (p *pool) lease(hosts []string) *lease { return &lease{pool: p, hosts: hosts, payers: nobody} }

// context returns a ctx in which Shared takes connections for the lease.
func (l *lease) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// take waits for the connection, dialling if nobody else does.
func (l *lease) take(ctx context.Context, id sharedID, cost int, dial func(context.Context) (any, error)) (any, error) {
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

// places are those of the connection that stands for the lease's backend, or nil.
func (l *lease) places() *places {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.taken) == 0 {
		return nil
	}
	return l.taken[0].places
}

// meters are those of everything that a read of the source may have to wait
// for: its own, and those of the connections that were taken for it.
func (l *lease) meters() []*wire.Meter {
	l.mu.Lock()
	defer l.mu.Unlock()
	meters := []*wire.Meter{&l.meter}
	for _, c := range l.taken {
		meters = append(meters, c.own.meters()...)
	}
	return meters
}

// sharing is how many use the connection that stands for the lease's backend,
// at least 1.
func (l *lease) sharing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.taken) == 0 {
		return 1
	}
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return len(l.taken[0].users)
}

// release gives everything back, last taken first. It may be called twice.
func (l *lease) release() {
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
func (p *pool) join(ctx context.Context, id sharedID, by *lease, cost int, dial func(context.Context) (any, error)) (*connection, error) {
	if c := p.joined(id, by); c != nil {
		return c, nil
	}
	memory := &Holding{of: p.memory, payers: by.payers}
	if err := memory.Set(cost); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.connections[id]; c != nil { // somebody else was faster
		c.users[by]++
		_ = memory.Set(0) // never refused
		return c, nil
	}
	// Whoever joins later may wait longer than the first, so the first one's
	// deadline does not end the dial; the last one leaving does.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &connection{
		pool: p, id: id, users: map[*lease]int{by: 1}, stop: stop, memory: memory,
		ready: make(chan struct{}),
		own:   p.lease(by.hosts),
	}
	c.own.payers = c.payers
	p.connections[id] = c
	p.changed(len(p.connections))
	go c.dial(ctx, dial)
	return c, nil
}

// joined counts the lease as a user of a connection that is there.
func (p *pool) joined(id sharedID, by *lease) *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.connections[id]
	if c != nil {
		c.users[by]++
	}
	return c
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
	if payers == nil {
		return nobody() // it is about to be closed
	}
	return payers
}

// dial ends when the connection stands or cannot be had, at the latest soon
// after the last user left. If nobody waits any more, what was dialled is
// closed again.
func (c *connection) dial(ctx context.Context, dial func(context.Context) (any, error)) {
	defer c.stop()
	c.own.meter.Begin()
	value, err := dialSafely(c.own.context(ctx), dial)
	c.own.meter.End()

	c.pool.mu.Lock()
	c.value, c.err, c.places = value, err, newPlaces(value)
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
func (c *connection) release(by *lease) {
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

// forget takes the connection out of the pool; pool.mu is held.
func (c *connection) forget() {
	if c.pool.connections[c.id] == c {
		delete(c.pool.connections, c.id)
		_ = c.memory.Set(0) // never refused
		c.pool.changed(len(c.pool.connections))
	}
}

func (c *connection) close() {
	if closer, ok := c.value.(io.Closer); ok && c.err == nil {
		closer.Close() // nobody is left who could do anything about its error
	}
	c.own.release()
}

// Opening returns a ctx in which an Open may be called outside of a family, as
// tests of a source do, and the function that releases what it took.
func Opening(ctx context.Context) (context.Context, func()) {
	l := newPool(poolConfig{}).lease(nil)
	return l.context(ctx), l.release
}
