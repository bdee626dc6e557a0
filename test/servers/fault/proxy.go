// Package fault breaks the network between a client and a server: a TCP proxy
// inside the test that can fall silent, be slow, or cut.
package fault

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy passes bytes between its clients and one target until told otherwise.
// Its methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	target   string
	ctx      context.Context //nolint:containedctx // ends with Close, not with a call
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cut   bool
	most  int64 // bytes of answers on each connection; 0 for any number
	delay time.Duration
	flow  chan struct{} // closed while bytes flow

	accepted, open     atomic.Int64
	toTarget, toClient atomic.Int64
}

// Listen starts a proxy to target on a free port of 127.0.0.1.
func Listen(target string) (*Proxy, error) { return ListenAt("127.0.0.1:0", target) }

// ListenAt starts a proxy to target at address. It lives until Close.
func ListenAt(address, target string) (*Proxy, error) {
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		cancel()
		return nil, err
	}
	flowing := make(chan struct{})
	close(flowing)
	p := &Proxy{
		listener: listener, target: target, ctx: ctx, cancel: cancel,
		conns: map[net.Conn]struct{}{}, flow: flowing,
	}
	p.work.Go(p.accept)
	return p, nil
}

// Addr is what clients connect to, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Stall lets the target fall silent: connections, old and new, are accepted
// and stay open, and no byte passes in either direction.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
		p.flow = make(chan struct{})
	default: // stalled already
	}
}

// Cut closes every connection and, until Heal, every new one at once.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		c.Close()
	}
}

// CutAfter closes each new connection in the middle of an answer: once n bytes,
// at least one, have come from the target. 0 ends it.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = n
}

// Delay holds every piece of data back for d, in each direction; 0 ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal ends Stall, Cut, CutAfter and Delay. What was held back is delivered.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.most, p.delay = false, 0, 0
	select {
	case <-p.flow:
	default:
		close(p.flow)
	}
}

// Stats is what passed a proxy since it started.
type Stats struct {
	// Accepted counts clients' connections, Open those that
	// the client has not ended, stalled or not.
	Accepted, Open int64
	// ToTarget and ToClient count bytes delivered.
	ToTarget, ToClient int64
}

// Stats returns the counters.
func (p *Proxy) Stats() Stats {
	return Stats{
		Accepted: p.accepted.Load(), Open: p.open.Load(),
		ToTarget: p.toTarget.Load(), ToClient: p.toClient.Load(),
	}
}

// Close cuts all connections, stops listening and waits until all is ended.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	p.Cut()
	p.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
