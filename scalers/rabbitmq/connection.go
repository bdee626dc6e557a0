package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// connection is one connection to a broker. The client library's calls take no
// context and wait for as long as the broker keeps them waiting, so each runs
// on a goroutine of its own, and whoever waits for it decides what its silence
// means: of the broker, or of one queue.
type connection struct {
	broker *broker
	wire   *wire
	frames *frames
	amqp   *amqp.Connection

	places chan struct{} // one for each call under way that does not hang
	calls  sync.WaitGroup

	mu    sync.Mutex
	idle  []*amqp.Channel
	ended bool // nothing is asked any more

	hanging atomic.Int64 // calls without a place
}

// dial connects and logs in.
func (b *broker) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if err := b.dialer.CheckName(b.endpoint.serverName); err != nil {
		return nil, err
	}
	raw, err := b.dialer.DialContext(ctx, "tcp", b.endpoint.host)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw}
	// Closing is what ends the library's waiting.
	stop := context.AfterFunc(ctx, w.end)
	f, err := b.encrypted(ctx, w)
	var opened *amqp.Connection
	if err == nil {
		opened, err = b.login(f)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		w.end()
		abandon(opened)
		return nil, loginFailure(ctx, opened, cmp.Or(f.refusal(), err))
	}
	return &connection{broker: b, wire: w, frames: f, amqp: opened, places: make(chan struct{}, channels)}, nil
}

// abandon ends what the library does for a connection that is closed. Its reader
// would wait for somebody to take what the broker said last.
func abandon(c *amqp.Connection) {
	if c != nil {
		_ = c.CloseDeadline(time.Now()) // it says that it is closed
	}
}

// encrypted shakes hands where there is TLS.
func (b *broker) encrypted(ctx context.Context, w *wire) (*frames, error) {
	if b.tls == nil {
		return newFrames(w, b.endpoint.host), nil
	}
	encrypted := tls.Client(w, b.tls)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return newFrames(encrypted, b.endpoint.host), nil
}

func (b *broker) login(f *frames) (*amqp.Connection, error) {
	properties := amqp.Table{"product": "Sluice", "connection_name": b.name()}
	config := amqp.Config{
		SASL:       []amqp.Authentication{outspoken{b.sasl, properties}},
		Vhost:      b.endpoint.vhost,
		Heartbeat:  heartbeat,
		FrameSize:  mostFrame,
		Locale:     "en_US",
		Properties: properties,
	}
	return amqp.Open(f, config)
}

// outspoken is a login that asks the broker to say that it is refused. Without
// the capability brokers let three seconds pass and hang up, which looks like
// trouble of the network. The library sets the capabilities itself, right
// before it asks for the response.
//
// Source: https://www.rabbitmq.com/docs/auth-notification
type outspoken struct {
	amqp.Authentication
	properties amqp.Table
}

// Response is the library's, with the capability announced.
func (o outspoken) Response() string {
	if capabilities, ok := o.properties["capabilities"].(amqp.Table); ok {
		capabilities[authenticationFailureClose] = true
	}
	return o.Authentication.Response()
}

const authenticationFailureClose = "authentication_failure_close"

// says reports whether the broker answers a refused login.
func says(c *amqp.Connection) bool {
	if c == nil {
		return false
	}
	capabilities, _ := c.Properties["capabilities"].(amqp.Table)
	says, _ := capabilities[authenticationFailureClose].(bool)
	return says
}

// wire is the transport below a connection. It counts what comes in, to tell a
// broker that is silent from one that is busy with something else.
type wire struct {
	net.Conn
	heard atomic.Int64
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.heard.Add(int64(n))
	return n, err
}

// end closes the socket. A farewell of TLS is left out, since it could wait for
// a stalled peer.
func (w *wire) end() { w.Close() }

// alive is false as soon as the connection is given up, by either side.
func (c *connection) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended && !c.amqp.IsClosed()
}

// cut ends the connection: every call on it returns.
func (c *connection) cut() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.wire.end()
}

// end cuts the connection and waits for the calls on it.
func (c *connection) end() {
	c.cut()
	abandon(c.amqp)
	c.calls.Wait()
}

// start runs a call unless the connection has ended.
func (c *connection) start(call func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.calls.Go(call)
	return true
}

// close says farewell first.
func (c *connection) close() {
	_ = c.amqp.CloseDeadline(time.Now().Add(closeLimit)) // closed it is, either way
	c.end()
}

// length is how many messages of a queue are ready.
func (c *connection) length(ctx context.Context, queue string) (int64, error) {
	before := c.wire.heard.Load()
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return 0, c.overdue(ctx, ctx, before)
	}
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	before = c.wire.heard.Load()
	pending := &pending{answered: make(chan struct{})}
	if !c.start(func() { c.run(pending, queue) }) {
		<-c.places
		return 0, c.lost(amqp.ErrClosed)
	}
	hangs := time.AfterFunc(patience, func() { c.hang(pending) })
	defer hangs.Stop()
	select {
	case <-pending.answered:
		return pending.length, pending.err
	case <-limited.Done():
		c.hang(pending)
		return 0, c.overdue(ctx, limited, before)
	}
}

// pending is a call under way.
type pending struct {
	length   int64
	err      error
	answered chan struct{} // closed after length and err are set
	placed   atomic.Bool   // gave its place back
}

// hang gives the place of a call that is not answered to others. Its channel
// stays taken until the answer comes.
func (c *connection) hang(p *pending) {
	if p.placed.CompareAndSwap(false, true) {
		c.hanging.Add(1)
		<-c.places
	}
}

// run makes the call. It holds a place, unless it hangs, and gives it back.
func (c *connection) run(p *pending, queue string) {
	p.length, p.err = c.declare(queue)
	if p.placed.CompareAndSwap(false, true) {
		<-c.places
	} else {
		c.hanging.Add(-1)
	}
	close(p.answered)
}

// overdue is the failure of a call that got no answer in time. When the broker
// said nothing at all meanwhile, or when too many calls hang, the connection is
// given up. Otherwise it is the queue that hangs, and the others go on.
func (c *connection) overdue(caller, limited context.Context, before int64) error {
	if errors.Is(caller.Err(), context.Canceled) {
		return caller.Err() // nobody wants to know any more
	}
	if c.wire.heard.Load() == before || c.hanging.Load() >= hangingMost {
		c.cut()
	}
	return c.broker.failure(limited.Err())
}

// declare asks for a queue without creating it. A channel that the broker
// closes over it is gone; the next call opens another.
func (c *connection) declare(queue string) (int64, error) {
	channel, err := c.channel()
	if err != nil {
		return 0, c.lost(err)
	}
	// What is declared of the queue does not matter in a passive declaration.
	found, err := channel.QueueDeclarePassive(queue, false, false, false, false, nil)
	if err == nil {
		c.giveBack(channel)
		return int64(found.Messages), nil
	}
	if c.alive() {
		if !channel.IsClosed() { // out of step: no answer on it can be trusted
			c.cut()
		}
		return 0, queueFailure(err, c.broker.endpoint.vhost)
	}
	return 0, c.lost(err)
}

func (c *connection) lost(err error) error {
	return lostError{c.broker.failure(cmp.Or(c.frames.refusal(), err))}
}

// channel returns one that nobody uses.
func (c *connection) channel() (*amqp.Channel, error) {
	c.mu.Lock()
	for len(c.idle) > 0 {
		last := len(c.idle) - 1
		channel := c.idle[last]
		c.idle = c.idle[:last]
		if !channel.IsClosed() {
			c.mu.Unlock()
			return channel, nil
		}
	}
	c.mu.Unlock()
	return c.amqp.Channel()
}

func (c *connection) giveBack(channel *amqp.Channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, channel)
}
