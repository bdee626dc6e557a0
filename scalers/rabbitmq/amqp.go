package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// amqpSource reads the length of one queue over AMQP: the messages that are
// ready. Unacknowledged ones are not to be seen there.
type amqpSource struct {
	scaler.Member
	queue string
}

// broker is one vhost of a broker as one identity, with at most one connection
// however many triggers ask. It is the batch of its sources.
type broker struct {
	endpoint endpoint
	sasl     amqp.Authentication
	tls      *tls.Config // nil without TLS
	dialer   *client.Dialer

	turn    chan struct{} // held by who looks at current
	current *connection   // nil before the first dial
}

// shareBroker returns the one broker for an endpoint and an identity.
func shareBroker(ctx context.Context, e endpoint, l login) (*broker, error) {
	return client.Shared(ctx, []any{e.scheme, e.host, e.vhost, e.serverName, l.identity(e)}, func(ctx context.Context) (*broker, error) {
		b := &broker{endpoint: e, sasl: l.sasl(e), dialer: client.DialerOf(ctx), turn: make(chan struct{}, 1)}
		if !e.tls() {
			return b, nil
		}
		config, err := l.material().Config(l.UnsafeSSL)
		if err != nil {
			return nil, err
		}
		config.ServerName = e.serverName
		b.tls = config
		return b, nil
	})
}

// attempts is how many connections one batch may use up. The first may have
// died unnoticed, the second under a queue whose declaration ends connections;
// from then on queues are asked one by one, so that each further connection
// convicts one.
const attempts = 5

// ReadBatch asks for all queues over one connection. A queue that is missing
// costs its channel; only the end of the connection is everybody's matter, and
// what it left unanswered is asked again on the next one.
func (b *broker) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	left := make([]*call, len(sources))
	for i, source := range sources {
		left[i] = &call{queue: source.(*amqpSource).queue, answer: func(r scaler.Result) { answer(i, r) }}
	}
	for attempt := 0; attempt < attempts && len(left) > 0; attempt++ {
		c, err := b.connected(ctx)
		if err != nil {
			fail(left, err)
			return nil
		}
		oneByOne := attempt > 1
		left = unanswered(c.ask(ctx, left, oneByOne), oneByOne)
	}
	fail(left, nil)
	return nil
}

// unanswered are the calls worth another connection. When they went one by
// one, the one that was under way ended the connection and is not.
func unanswered(left []*call, oneByOne bool) []*call {
	var again []*call
	for _, call := range left {
		if oneByOne && call.asked {
			call.fail(call.lost)
		} else {
			again = append(again, call)
		}
	}
	return again
}

// fail answers calls with an error, or with how each was lost.
func fail(calls []*call, err error) {
	for _, call := range calls {
		call.fail(cmp.Or(err, call.lost))
	}
}

// connected returns the connection, dialled anew if it is gone. One caller
// dials at a time; the others wait no longer than their ctx.
func (b *broker) connected(ctx context.Context) (*connection, error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, b.failure(ctx.Err())
	}
	defer func() { <-b.turn }()
	if b.current != nil && b.current.alive() {
		return b.current, nil
	}
	if b.current != nil {
		b.current.end()
		b.current = nil
	}
	c, err := b.dial(ctx)
	if err != nil {
		return nil, b.failure(err)
	}
	b.current = c
	return c, nil
}

// Close ends the connection, in good order if the broker answers soon.
func (b *broker) Close() error {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	if b.current != nil {
		b.current.close()
		b.current = nil
	}
	return nil
}

// name is what the broker's overview shows of the connection. It serves many
// objects, so it says what they share instead of one object's name, behind the
// prefix that KEDA's users filter for.
func (b *broker) name() string { return "keda-" + b.endpoint.vhost }

// failure names the broker.
func (b *broker) failure(err error) error {
	return failed("broker "+b.endpoint.host, err)
}

// call is one queue that is asked for.
type call struct {
	queue  string
	answer func(scaler.Result)
	asked  bool  // the last connection lived when it was sent
	lost   error // how that ended, when it did first
}

func (c *call) fail(err error) {
	c.answer(scaler.Result{Err: fmt.Errorf("queue %s: %w", c.queue, err)})
}

// ask asks for all queues, one by one or as many at a time as there are places,
// and returns those that the end of the connection left without an answer.
func (c *connection) ask(ctx context.Context, calls []*call, oneByOne bool) (left []*call) {
	var mu sync.Mutex
	ask := func(call *call) {
		if c.answer(ctx, call) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		left = append(left, call)
	}
	if oneByOne {
		for _, call := range calls {
			ask(call)
		}
		return left
	}
	var asking sync.WaitGroup
	for _, call := range calls {
		asking.Go(func() { ask(call) })
	}
	asking.Wait()
	return left
}

// answer asks for one queue. It is false when the connection ended first and
// there is time for another.
func (c *connection) answer(ctx context.Context, call *call) bool {
	call.asked = c.alive()
	length, err := c.length(ctx, call.queue)
	switch lost := errors.As(err, new(lostError)); {
	case err == nil:
		call.answer(scaler.Result{Readings: counts{messages: length, ready: length}.readings()})
	case lost && ctx.Err() == nil:
		call.lost = err
		return false
	case lost:
		call.fail(c.broker.failure(ctx.Err())) // cut because time is up
	default:
		call.fail(err)
	}
	return true
}

// Limits of a connection.
const (
	// dialLimit bounds everything until a connection can be used.
	dialLimit = 8 * time.Second
	// heartbeat is the interval that the client proposes. It finds out about a
	// dead broker between reads. Brokers send one every half of it.
	heartbeat = 10 * time.Second
	// answerLimit is how long a broker may take to answer for one queue. A
	// heartbeat fits in, so that a healthy broker is not taken for a dead one.
	answerLimit = 6 * time.Second
	// closeLimit bounds a farewell.
	closeLimit = time.Second
	// channels is how many queues are asked for at a time, each on a channel.
	channels = 8
	// patience is how long a queue that does not answer keeps others waiting.
	patience = time.Second
	// hangingMost is how many more channels may wait for queues that do not
	// answer, until a new connection is the better choice.
	hangingMost = 2 * channels
)
