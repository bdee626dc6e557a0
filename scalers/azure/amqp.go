package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/go-amqp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// mostFrame is the most of one frame, in bytes, and mostReply what one
	// request may be answered with.
	mostFrame = 64 << 10
	mostReply = 128 << 10
	// mostAsked is how many requests are under way on one connection.
	mostAsked = 32
)

// allowance is what the server of one connection may still send, in bytes: it
// only ever speaks when it is spoken to. The library puts messages together of
// as many frames as come, of the length that stands in front of them.
type allowance struct {
	most  int64 // that it may be at any time
	left  atomic.Int64
	heard atomic.Int64 // frames with something in them

	header  [8]byte
	filled  int
	rest    int64 // of the frame that is under way
	content content
}

// grant is for one request.
func (a *allowance) grant() {
	if a.left.Add(mostReply) > a.most {
		a.left.Store(a.most)
	}
}

// Check implements client.Checker.
func (a *allowance) Check(p []byte) error {
	for len(p) > 0 {
		if a.rest > 0 {
			n := min(a.rest, int64(len(p)))
			a.rest -= n
			if err := a.content.take(p[:n]); err != nil {
				return err
			}
			p = p[n:]
			if a.rest > 0 {
				return nil
			}
			if err := a.content.end(); err != nil {
				return err
			}
			continue
		}
		n := copy(a.header[a.filled:], p)
		a.filled += n
		p = p[n:]
		if a.filled < len(a.header) {
			return nil
		}
		a.filled = 0
		if string(a.header[:4]) == "AMQP" { // how each side begins
			continue
		}
		size := int64(binary.BigEndian.Uint32(a.header[:]))
		switch {
		case size < 8 || size > mostFrame:
			return fmt.Errorf("the server announced a frame of %d bytes, more than %d or less than 8", size, mostFrame)
		case size == 8:
			continue // it is alive
		case a.left.Add(-size) < 0:
			return errors.New("the server sent more than it was asked for")
		}
		a.heard.Add(1)
		a.rest, a.content.most = size-8, a.most
		if err := a.content.begin(a.header[:], a.rest); err != nil {
			return err
		}
	}
	return nil
}

// hubs is a connection to a namespace of Event Hubs, as one asker reaches it. All
// of their sources share it: the vendor's client has one for each hub.
type hubs struct {
	address string // host:port
	host    string // as the server knows itself
	plain   bool   // nothing is encrypted: an emulator
	dialer  *client.Dialer
	token   func(ctx context.Context, resource string) (token, kind string, err error)
	held    *client.Holding // what hubs take beside the connection

	turn   chan struct{} // holds one while nobody dials
	mu     sync.Mutex
	now    *hubConn // nil before the first request, and after a failure
	closed bool
}

// Cost is what the library takes for a connection before the first hub is asked
// about. FurtherServers has what it takes for each hub.
func (*hubs) Cost() int { return 256 << 10 }

// linkCost is what the library takes for both links to a hub, most of it for queues
// as long as the window of a session.
const linkCost = 144 << 10

// hubConn is one connection while it lasts.
type hubConn struct {
	conn    *amqp.Conn
	claims  *caller // puts tokens
	allowed *allowance
	held    *client.Holding // of what connections may take; nil for what is counted elsewhere
	retired atomic.Bool     // another connection is in its place
	running sync.WaitGroup

	mu       sync.Mutex
	links    map[string]*hubLink
	sessions []*hubSession
}

// hubSession is a part of a connection: Azure has 256 links in one.
type hubSession struct {
	*amqp.Session

	callers int // of two links each
}

// mostCallers is how many callers one session has.
const mostCallers = 100

// session is one with a place for a caller, which leaves it by free.
func (c *hubConn) session(ctx context.Context) (*hubSession, error) {
	c.mu.Lock()
	for _, s := range c.sessions {
		if s.callers < mostCallers {
			s.callers++
			c.mu.Unlock()
			return s, nil
		}
	}
	c.mu.Unlock()
	c.allowed.grant()
	opened, err := c.conn.NewSession(ctx, nil)
	if err != nil {
		return nil, err
	}
	s := &hubSession{opened, 1}
	c.mu.Lock()
	c.sessions = append(c.sessions, s)
	c.mu.Unlock()
	return s, nil
}

func (c *hubConn) free(s *hubSession) {
	c.mu.Lock()
	s.callers--
	c.mu.Unlock()
}

// hubLink asks about one hub.
type hubLink struct {
	turn   chan struct{} // holds one while nobody opens it
	caller *caller
	until  time.Time // when the hub's token has to be put again
	gone   bool      // it was let go of while somebody waited for the turn
}

// claimLife is how long a token that was put is relied on.
const claimLife = 10 * time.Minute

// mostLinks is how many hubs one connection asks about, and mostSessions in how many
// sessions.
const (
	mostLinks    = 1000
	mostSessions = 256
)

// Close ends the connection. Its last user is gone.
func (h *hubs) Close() error {
	h.mu.Lock()
	now := h.now
	h.now, h.closed = nil, true
	h.mu.Unlock()
	if now != nil {
		now.end()
	}
	return h.held.Set(0) // which is never refused
}

// end closes the connection and waits for what runs for it.
func (c *hubConn) end() {
	_ = c.conn.Close()
	c.running.Wait()
}

// take waits for the one thing in a turn.
func take(ctx context.Context, turn chan struct{}) error {
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connection is the present one, or a new one.
func (h *hubs) connection(ctx context.Context) (*hubConn, error) {
	if err := take(ctx, h.turn); err != nil {
		return nil, err
	}
	defer func() { h.turn <- struct{}{} }()
	h.mu.Lock()
	now, closed := h.now, h.closed
	h.mu.Unlock()
	switch {
	case closed:
		return nil, scaler.Errorf(codes.Canceled, "the connection is closed")
	case now != nil:
		return now, nil
	}
	c, err := h.dial(ctx, &allowance{most: 2 * mostAsked * mostReply})
	if err != nil {
		return nil, err
	}
	c.held = h.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		go c.end() //nolint:gosec // ends by itself
		return nil, scaler.Errorf(codes.Canceled, "the connection is closed")
	}
	h.now = c
	return c, nil
}

// drop gives up a connection that failed.
func (h *hubs) drop(c *hubConn) {
	h.mu.Lock()
	present := h.now == c
	if present {
		h.now = nil
		c.retired.Store(true)
	}
	h.mu.Unlock()
	if present {
		_ = h.held.Set(0) // less is never refused
		c.end()
	}
}

// dial connects and opens the link for tokens.
func (h *hubs) dial(ctx context.Context, allowed *allowance) (*hubConn, error) {
	for range 8 { // to shake hands, and open what a connection begins with
		allowed.grant()
	}
	dialer := h.dialer.Guarded(client.Guard{Protocol: func() client.Checker { return allowed }})
	raw, err := h.connect(ctx, dialer)
	if err != nil {
		return nil, err
	}
	conn, err := amqp.NewConn(ctx, raw, &amqp.ConnOptions{
		HostName: h.host, SASLType: amqp.SASLTypeAnonymous(), MaxFrameSize: mostFrame, MaxSessions: mostSessions, ContainerID: "sluice",
		Properties: map[string]any{"product": "sluice"},
	})
	if err != nil {
		raw.Close()
		return nil, err
	}
	c := &hubConn{conn: conn, allowed: allowed, links: map[string]*hubLink{}}
	if c.claims, err = c.open(ctx, "$cbs"); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func (h *hubs) connect(ctx context.Context, dialer *client.Dialer) (net.Conn, error) {
	if h.plain {
		return dialer.DialContext(ctx, "tcp", h.address)
	}
	config, err := client.TLSParams{}.Config(false)
	if err != nil {
		return nil, err
	}
	return dialer.DialTLS(ctx, "tcp", h.address, config)
}

// ask is the answer to a request about a hub. After a failure of the connection
// the next request makes a new one.
func (h *hubs) ask(ctx context.Context, hub string, properties map[string]any) (map[string]any, error) {
	c, err := h.connection(ctx)
	if err != nil {
		return nil, h.failure(err)
	}
	heard := c.allowed.heard.Load()
	reply, err := h.askOver(ctx, c, hub, properties)
	if err == nil {
		return reply, nil
	}
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		if properties["partition"] == nil { // the hub is not there, or not for this login
			c.forget(hub) //nolint:contextcheck // links are closed after the request
		}
		return nil, err
	case ofLink(err): // that of this hub alone
		c.forget(hub) //nolint:contextcheck // as above
	case ctx.Err() == nil, errors.Is(ctx.Err(), context.DeadlineExceeded) && c.allowed.heard.Load() == heard:
		h.drop(c) // it failed, or said nothing to anybody
	}
	return nil, h.failure(err)
}

// resource is what tokens for a hub are for.
func (h *hubs) resource(hub string) string {
	if h.plain {
		return "amqp://" + h.host + "/" + hub
	}
	return "amqps://" + h.host + "/" + hub
}

// claim puts a token for a hub.
func (h *hubs) claim(ctx context.Context, c *hubConn, hub string) error {
	token, kind, err := h.token(ctx, h.resource(hub))
	if err != nil {
		return err
	}
	return c.put(ctx, h.resource(hub), token, kind)
}

// put shows a token to the server.
func (c *hubConn) put(ctx context.Context, resource, token, kind string) error {
	_, err := c.claims.call(ctx, &amqp.Message{Value: token, ApplicationProperties: map[string]any{
		"operation": "put-token", "type": kind, "name": resource,
	}})
	return err
}

func (h *hubs) askOver(ctx context.Context, c *hubConn, hub string, properties map[string]any) (map[string]any, error) {
	resource := h.resource(hub)
	token, kind, err := h.token(ctx, resource)
	if err != nil {
		return nil, err
	}
	caller, err := c.link(ctx, hub, resource, token, kind)
	if err != nil {
		return nil, err
	}
	properties["security_token"] = token
	message := &amqp.Message{ApplicationProperties: properties}
	reply, err := caller.call(ctx, message)
	if err != nil {
		return nil, err
	}
	body, ok := reply.Value.(map[string]any)
	if !ok {
		return nil, scaler.Errorf(codes.Unavailable, "the answer cannot be understood")
	}
	return body, nil
}

// link is what asks about a hub, with the hub's token put.
func (c *hubConn) link(ctx context.Context, hub, resource, token, kind string) (*caller, error) {
	l, err := c.turnOf(ctx, hub)
	if err != nil {
		return nil, err
	}
	defer func() { l.turn <- struct{}{} }()
	if time.Now().After(l.until) {
		if err := c.put(ctx, resource, token, kind); err != nil {
			return nil, err
		}
		l.until = time.Now().Add(claimLife)
	}
	if l.caller == nil {
		caller, err := c.open(ctx, hub+"/$management")
		if err != nil {
			return nil, err
		}
		l.caller = caller
	}
	return l.caller, nil
}

// turnOf is the link of a hub, with its turn taken.
func (c *hubConn) turnOf(ctx context.Context, hub string) (*hubLink, error) {
	for {
		l, err := c.linkOf(hub)
		if err != nil {
			return nil, err
		}
		if err := take(ctx, l.turn); err != nil {
			return nil, err
		}
		if !l.gone {
			return l, nil
		}
		l.turn <- struct{}{}
	}
}

// linkOf is the link of a hub, which may be a new one.
func (c *hubConn) linkOf(hub string) (*hubLink, error) {
	c.mu.Lock()
	l, n := c.links[hub], len(c.links)
	c.mu.Unlock()
	switch {
	case l != nil:
		return l, nil
	case n >= mostLinks:
		return nil, scaler.Errorf(codes.ResourceExhausted, "more than %d event hubs are asked about over one connection", mostLinks)
	}
	if err := c.hold(n + 1); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l = c.links[hub]; l == nil {
		l = &hubLink{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		c.links[hub] = l
	}
	return l, nil
}

// hold counts what n links take. It is called with no lock held.
func (c *hubConn) hold(n int) error {
	if c.retired.Load() {
		return nil
	}
	return c.held.Set(n * linkCost)
}

// ofLink reports whether an error ends one link: the server detached it, or refused
// it from the start, which the library returns as the condition alone.
func ofLink(err error) bool {
	var link *amqp.LinkError
	var condition *amqp.Error
	var connection *amqp.ConnError
	var session *amqp.SessionError
	return errors.As(err, &link) ||
		errors.As(err, &condition) && !errors.As(err, &connection) && !errors.As(err, &session)
}

// forget lets go of a link that failed.
func (c *hubConn) forget(hub string) {
	c.mu.Lock()
	l := c.links[hub]
	delete(c.links, hub)
	n := len(c.links)
	c.mu.Unlock()
	_ = c.hold(n) // less is never refused
	if l == nil {
		return
	}
	c.running.Go(func() {
		<-l.turn // whoever opens it has it no longer than its read may take
		l.gone = true
		l.turn <- struct{}{}
		if l.caller != nil {
			l.caller.close()
		}
	})
}

// failure is why there is no answer, in words for the user without those of the
// server.
func (h *hubs) failure(err error) error {
	if refusal := h.dialer.Refusal(); refusal != nil {
		return refusal
	}
	var own interface{ GRPCStatus() *status.Status }
	if errors.As(err, &own) {
		return err
	}
	var condition *amqp.Error
	if errors.As(err, &condition) {
		switch kind := string(condition.Condition); {
		case strings.HasSuffix(kind, "not-found"):
			return scaler.Errorf(codes.NotFound, "does not exist in this namespace")
		case strings.HasSuffix(kind, "unauthorized-access"):
			return scaler.Errorf(codes.Unauthenticated, "the namespace refuses the login: it needs the right to listen, or the role Azure Event Hubs Data Receiver")
		case strings.HasSuffix(kind, "server-busy"), strings.HasSuffix(kind, "resource-limit-exceeded"):
			return scaler.Errorf(codes.ResourceExhausted, "the namespace is busy, or has as many connections as it takes")
		}
	}
	if code, text, known := client.NetworkFailure(err); known {
		return scaler.Errorf(code, "%s: %s", h.address, text)
	}
	return scaler.Errorf(codes.Unavailable, "%s: the connection was lost, or is none of AMQP", h.address)
}
