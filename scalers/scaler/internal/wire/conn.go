package wire

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
)

// Limits are those of one connection, in bytes; 0 is none.
type Limits struct {
	// Read is the most that all connections of an endpoint receive for the
	// reads that are under way together.
	Read int64
	// Second is the most that one connection receives within a second.
	Second int64
}

// Checker sees what a peer sends on one connection.
type Checker interface {
	// Check is called with what came next, in order and in pieces of any size.
	// It keeps nothing of p. An error ends the connection; it says what was
	// wrong and quotes nothing that the peer chose but numbers.
	Check(p []byte) error
}

// PeerError is the error about a peer that sent what it may not. It is that of
// every call of a connection that ended with it.
type PeerError struct {
	Peer   string // host and port
	Reason error
}

func (r *PeerError) Error() string { return r.Peer + ": " + r.Reason.Error() }

func (r *PeerError) Unwrap() error { return r.Reason }

// OfAll is true where the bound is one of all that came for the reads under way, so
// that nobody knows whose answer was too much.
func (r *PeerError) OfAll() bool { return errors.As(r.Reason, new(ofAllError)) }

// ofAllError is an error about what came for all.
type ofAllError struct{ error }

func (o ofAllError) Unwrap() error { return o.error }

// GRPCStatus gives the error its code.
func (r *PeerError) GRPCStatus() *status.Status { return status.New(codes.Unavailable, r.Error()) }

// Count has what comes over raw counted within limits, and noted on the peer's
// page, which may be nil.
func Count(raw net.Conn, peer string, m *Meter, page *suspects.Page, limits Limits) net.Conn {
	return guard(raw, peer, m, &counter{meter: m, page: page, limits: limits}, true)
}

// Check has what comes over raw checked. It stands above TLS, if there is any.
func Check(raw net.Conn, peer string, m *Meter, checker Checker) net.Conn {
	return guard(raw, peer, m, checker, false)
}

func guard(raw net.Conn, peer string, m *Meter, checker Checker, counted bool) net.Conn {
	c := &conn{Conn: raw, peer: peer, meter: m, checker: checker}
	if counted {
		everything.open(c)
		c.greeting = &greeting{}
	}
	if system, ok := raw.(syscall.Conn); ok {
		// Libraries look there whether the server has hung up.
		return struct {
			*conn
			syscall.Conn
		}{c, system}
	}
	return c
}

// conn is a connection whose peer is watched.
type conn struct {
	net.Conn
	peer    string
	meter   *Meter
	mu      sync.Mutex // of the checker
	checker Checker
	// greeting is nil where the bytes are not the connection's own.
	greeting *greeting
	refused  atomic.Pointer[PeerError]

	// Of one whose bytes are its own: what came that nobody waits for, until when
	// nothing more may come, and what ends the waiting. The first two are guarded by mu.
	owed     owed
	until    time.Time
	deadline atomic.Pointer[time.Time]
	closed   atomic.Bool
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if r := c.refused.Load(); r != nil {
		return 0, r
	}
	c.hold()
	n, err := c.Conn.Read(p)
	if n > 0 {
		if r := c.check(p[:n]); r != nil {
			return 0, r
		}
	}
	return n, c.cause(err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.greeting.sent(p)
	n, err := c.Conn.Write(p)
	return n, c.cause(err)
}

// cause replaces an error that there is only because the connection was ended.
func (c *conn) cause(err error) error {
	if r := c.refused.Load(); r != nil && err != nil {
		return r
	}
	return err
}

// check hands what came to the checker, and ends the connection when it
// objects.
func (c *conn) check(p []byte) *PeerError {
	c.mu.Lock()
	defer c.mu.Unlock()
	reason := c.greeting.received(len(p))
	if c.greeting != nil && !c.meter.waited() {
		c.came(len(p), time.Now())
	}
	if reason == nil {
		reason = c.checker.Check(p)
	}
	if reason != nil {
		c.refuse(reason)
	}
	return c.refused.Load()
}

// refuse ends the connection, if nothing has before.
func (c *conn) refuse(reason error) {
	r := &PeerError{Peer: c.peer, Reason: reason}
	if c.refused.CompareAndSwap(nil, r) {
		c.meter.refused(r)
		c.Conn.Close() // its error would say less
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	everything.close(c)
	c.closed.Store(true)
	return c.Conn.Close()
}

// counter is the checker that counts.
type counter struct {
	meter  *Meter
	page   *suspects.Page
	limits Limits
	began  time.Time // when the second began
	bytes  int64     // that came within it
}

// Check implements Checker.
func (c *counter) Check(p []byte) error {
	now := time.Now()
	read := c.meter.add(len(p), now)
	everything.makeRoom(now)
	if c.limits.Read > 0 && read > c.limits.Read {
		return ofAllError{fmt.Errorf("the server sent more than %d bytes for one read, see --max-read-bytes", c.limits.Read)}
	}
	c.page.Received(now)
	if now.Sub(c.began) >= time.Second {
		c.began, c.bytes = now, 0
	}
	c.bytes += int64(len(p))
	if c.limits.Second > 0 && c.bytes > c.limits.Second {
		return ofAllError{fmt.Errorf("the server sent more than %d bytes in a second, see --max-bytes-per-second", c.limits.Second)}
	}
	return nil
}
