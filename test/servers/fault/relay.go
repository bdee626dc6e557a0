package fault

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkSize = 32 << 10
	// heldChunks is how much of a direction is read ahead while it is held
	// back, so that a client's end is seen during a stall.
	heldChunks = 32
)

// accept takes clients until the listener is closed.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.work.Go(func() { p.serve(client) })
	}
}

// serve relays one client until both sides have ended or one has failed.
func (p *Proxy) serve(client net.Conn) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if !p.hold(client) {
		return
	}
	defer p.release(client)
	most := p.mostAnswers()

	p.open.Add(1)
	left := sync.OnceFunc(func() { p.open.Add(-1) })
	defer left()
	requests := p.read(ctx, cancel, client, left)

	// A stalled server is one that never took the connection from the kernel.
	if !p.await(ctx) {
		return
	}
	var dialer net.Dialer
	target, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil || !p.hold(target) {
		return
	}
	defer p.release(target)
	answers := p.read(ctx, cancel, target, func() {})

	var directions sync.WaitGroup
	directions.Go(func() { p.write(ctx, cancel, target, requests, &p.toTarget, 0) })
	directions.Go(func() { p.write(ctx, cancel, client, answers, &p.toClient, most) })
	directions.Wait()
}

// read hands on what arrives from conn; the channel closes at conn's end, and
// ended is called then. A failing connection cancels its relay.
func (p *Proxy) read(ctx context.Context, cancel func(), conn net.Conn, ended func()) <-chan []byte {
	chunks := make(chan []byte, heldChunks)
	p.work.Go(func() {
		defer close(chunks)
		defer ended()
		for {
			chunk := make([]byte, chunkSize)
			n, err := conn.Read(chunk)
			if n > 0 {
				select {
				case chunks <- chunk[:n]:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					cancel()
				}
				return
			}
		}
	})
	return chunks
}

// write delivers chunks to conn as the proxy's state allows, then ends that
// direction. A failing connection cancels its relay, and so does the last of
// most bytes, when that is not 0.
func (p *Proxy) write(ctx context.Context, cancel func(), conn net.Conn, chunks <-chan []byte, count *atomic.Int64, most int64) {
	written := int64(0)
	for {
		var chunk []byte
		var more bool
		select {
		case chunk, more = <-chunks:
		case <-ctx.Done():
			return
		}
		if !p.await(ctx) {
			return
		}
		if !more {
			// The other direction may still have something to say.
			if c, ok := conn.(*net.TCPConn); ok && c.CloseWrite() == nil {
				return
			}
			cancel()
			return
		}
		if most > 0 {
			chunk = chunk[:min(int64(len(chunk)), most-written)]
		}
		n, err := conn.Write(chunk)
		count.Add(int64(n))
		written += int64(n)
		if err != nil || written == most && most > 0 {
			cancel()
			return
		}
	}
}

// await returns when bytes may flow, after the delay; false when ctx ended.
func (p *Proxy) await(ctx context.Context) bool {
	p.mu.Lock()
	flow, delay := p.flow, p.delay
	p.mu.Unlock()
	select {
	case <-flow:
	case <-ctx.Done():
		return false
	}
	if delay == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Proxy) mostAnswers() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// hold makes conn one that Cut closes; false, and closed, while cut.
func (p *Proxy) hold(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Proxy) release(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	conn.Close()
}
