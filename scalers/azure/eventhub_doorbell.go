package main

import (
	"context"
	"errors"
	"fmt"
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

// hubRings announces the doorbell.
var hubRings = scaler.RingsAt("with doorbellConsumerGroup, while the trigger is idle, one receiver at the end of each partition, which is one of the five readers " +
	"of that consumer group: it consumes nothing, keeps no checkpoint and needs the right to listen, as reading does; an event that arrives is sent to it once, " +
	"and the next one after a quarter of a second at the earliest, soon two; one connection to each namespace, whatever the number of triggers")

// Bounds and times of listening.
const (
	// mostHeardOfHub is how many partitions a hub may have that is listened to. The
	// client library takes some 100 KiB for each receiver.
	mostHeardOfHub = 128
	// mostHeardOfNamespace is how many partitions the triggers of one namespace of the
	// cluster listen to, and mostHeard how many all.
	mostHeardOfNamespace = 128
	mostHeard            = 384
	// mostEvent is how much of an event is taken, in bytes: one that is larger rings
	// all the same.
	mostEvent = 64 << 10
	// mostEvents is what the server of one connection may send before what came has
	// been looked at.
	mostEvents = 2 << 20
	// attachAtOnce is how many receivers of one hub are opened at once.
	attachAtOnce = 8
	// attaching bounds what it takes until a receiver is there.
	attaching = 10 * time.Second
	// shortestHold and longestHold bound the time until a partition that has rung is
	// listened to again.
	shortestHold = 250 * time.Millisecond
	longestHold  = 2 * time.Second
	// counting is how long a server may take to count an event that it has. One that
	// came just before listening began may be missing in the reading that follows,
	// and nothing else would ring for it.
	counting = time.Second
)

// heard are the partitions that are listened to: how many a hub has, whoever runs
// the server says.
var heard = client.NewAllowance("partitions that are listened to", mostHeardOfNamespace, mostHeard)

// hubDoorbell listens at one namespace of Event Hubs, as one asker reaches it, over
// a connection beside that for questions: there a server speaks only when it is
// spoken to.
type hubDoorbell struct {
	hubs   *hubs
	shared *client.SharedDoorbell
}

// Cost is that of a connection of Event Hubs, with what may be on its way.
func (*hubDoorbell) Cost() int { return (*hubs)(nil).Cost() + mostEvents/4 }

// Close ends all listening.
func (d *hubDoorbell) Close() error { //nolint:unparam // it is an io.Closer
	d.shared.Close()
	return nil
}

// shareDoorbell returns the one of a namespace, nil without a consumer group for it.
func shareDoorbell(ctx context.Context, group string, key any, connect func(context.Context) (*hubs, error)) (*hubDoorbell, error) {
	if group == "" {
		return nil, nil //nolint:nilnil // nobody listens
	}
	return client.Shared(ctx, key, func(ctx context.Context) (*hubDoorbell, error) {
		h, err := connect(ctx)
		if err != nil {
			return nil, err
		}
		return &hubDoorbell{hubs: h, shared: client.NewSharedDoorbell(ctx)}, nil
	})
}

// place is what is listened to for a source: a topic of the doorbell.
type place struct {
	hub, group string
	partitions []string
}

func (p place) topic() string {
	return p.hub + "\n" + p.group + "\n" + strings.Join(p.partitions, "\n")
}

func placeOf(topic string) place {
	parts := strings.Split(topic, "\n")
	return place{hub: parts[0], group: parts[1], partitions: parts[2:]}
}

// Listen rings when an event arrives in a partition. Partitions that have become
// others end it, and the next attempt takes those.
func (s *eventHubSource) Listen(ctx context.Context, listening, ring func()) error {
	if s.doorbell == nil {
		return fmt.Errorf("%w: doorbellConsumerGroup is not set", scaler.ErrDoorbellRefused)
	}
	hearing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	at := place{s.hub, s.group, s.watch(func() { stop(errOtherPartitions) })}
	defer s.watch(nil)
	if len(at.partitions) > mostHeardOfHub {
		return fmt.Errorf("%w: event hub %s has more than %d partitions, which are not listened to", scaler.ErrDoorbellRefused, s.hub, mostHeardOfHub)
	}
	if err := s.heard.Set(len(at.partitions)); err != nil {
		return fmt.Errorf("%w: %w", scaler.ErrDoorbellRefused, err)
	}
	defer func() { _ = s.heard.Set(0) }() // which is never refused
	echo := time.AfterFunc(counting, ring)
	echo.Stop() // until somebody listens
	defer echo.Stop()
	err := s.doorbell.shared.Listen(hearing, "", at.topic(), s.doorbell.hear, func() {
		echo.Reset(counting)
		listening()
	}, ring)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case context.Cause(hearing) != nil:
		return context.Cause(hearing)
	}
	return err
}

// errOtherPartitions ends listening to what was.
var errOtherPartitions = scaler.Errorf(codes.Unavailable, "the event hub has other partitions than before")

// watch returns the partitions as of the last read, and has changed called, if it is
// not nil, when a read finds others.
func (s *eventHubSource) watch(changed func()) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = changed
	return s.partitions
}

// hear listens for all who listen at the namespace, over one connection.
func (d *hubDoorbell) hear(ctx context.Context, listeners *client.Listeners) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	connecting, connected := context.WithTimeout(ctx, attaching)
	defer connected()
	c, err := d.hubs.dial(connecting, &allowance{most: mostEvents})
	if err != nil {
		return d.hubs.failure(err)
	}
	h := &hubHearing{hubs: d.hubs, conn: c, listeners: listeners, ears: map[string]*ear{}, broken: make(chan error, 1)}
	defer h.running.Wait()
	defer c.end()
	defer end()
	return h.run(ctx)
}

// hubHearing is one connection that listens for all listeners.
type hubHearing struct {
	hubs      *hubs
	conn      *hubConn
	listeners *client.Listeners
	ears      map[string]*ear // by topic
	broken    chan error      // room for one
	running   sync.WaitGroup
}

// run returns nil when nobody listens any more.
func (h *hubHearing) run(ctx context.Context) error {
	for {
		topics := h.listeners.Topics()
		if len(topics) == 0 {
			return nil
		}
		h.adopt(ctx, topics)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-h.broken:
			return h.hubs.failure(err)
		case <-h.listeners.Changed():
		}
	}
}

// adopt has an ear at each place that somebody listens to, and at no other.
func (h *hubHearing) adopt(ctx context.Context, topics []string) {
	wanted := map[string]bool{}
	for _, topic := range topics {
		wanted[topic] = true
		e := h.ears[topic]
		switch {
		case e == nil || e.gone.Load():
			h.start(ctx, topic)
		case e.hears.Load():
			h.listeners.Listening([]string{topic}) // of whom some may be new
		}
	}
	for topic, e := range h.ears {
		if !wanted[topic] {
			e.stop()
			delete(h.ears, topic)
		}
	}
}

func (h *hubHearing) start(ctx context.Context, topic string) {
	ctx, stop := context.WithCancel(ctx)
	e := &ear{place: placeOf(topic), topic: topic, hearing: h, stop: stop}
	h.ears[topic] = e
	h.running.Go(func() {
		defer stop()
		err := scaler.Safely("listening to event hub "+e.hub, func() error { return e.run(ctx) })
		e.gone.Store(true) // before anybody hears of it, and comes back
		if ctx.Err() == nil {
			h.ended(topic, err)
		}
	})
}

// ended says why a place is not listened to any more: for a reason of its own, or
// with all of the connection.
func (h *hubHearing) ended(topic string, err error) {
	if ofLink(err) || errors.Is(err, scaler.ErrDoorbellRefused) {
		h.listeners.Fail(topic, h.hubs.failure(err))
		return
	}
	select {
	case h.broken <- err:
	default: // it is broken already
	}
}

// ear listens to the partitions of one hub.
type ear struct {
	place

	topic   string
	hearing *hubHearing
	stop    context.CancelFunc
	session *amqp.Session
	hears   atomic.Bool // all partitions
	gone    atomic.Bool // it has ended
}

// run listens until ctx ends, or something fails.
func (e *ear) run(ctx context.Context) error {
	if err := e.claim(ctx); err != nil {
		return e.refusal("", err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	e.hearing.conn.allowed.grant()
	opening, opened := context.WithTimeout(ctx, attaching)
	session, err := e.hearing.conn.conn.NewSession(opening, nil)
	opened()
	if err != nil {
		return err
	}
	e.session = session
	failed := make(chan error, len(e.partitions))
	attached := make(chan struct{}, len(e.partitions))
	places := make(chan struct{}, attachAtOnce)
	var running sync.WaitGroup
	defer e.leave(ctx)
	defer running.Wait()
	defer end()
	for _, partition := range e.partitions {
		running.Go(func() {
			failed <- scaler.Safely("listening to partition "+partition, func() error {
				return e.partition(ctx, partition, places, func() { attached <- struct{}{} })
			})
		})
	}
	renewed := time.NewTicker(claimLife)
	defer renewed.Stop()
	for missing := len(e.partitions); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-attached:
			if missing--; missing == 0 {
				e.hears.Store(true)
				e.hearing.listeners.Listening([]string{e.topic})
			}
		case <-renewed.C:
			if err := e.claim(ctx); err != nil {
				return e.refusal("", err)
			}
		}
	}
}

// leave ends the session. That of a connection that has ended has, too.
func (e *ear) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	e.hearing.conn.allowed.grant()
	_ = e.session.Close(ctx) // nothing is left to do about a failure
}

// claim shows the token of the hub, which is good for a while.
func (e *ear) claim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attaching)
	defer cancel()
	return e.hearing.hubs.claim(ctx, e.hearing.conn, e.hub)
}

// partition rings for each event that arrives in one, and for what may have arrived
// while nobody listened. A receiver is good for one event: however many follow, the
// next one begins behind them.
func (e *ear) partition(ctx context.Context, id string, places chan struct{}, attached func()) error {
	hold, rung := shortestHold, time.Time{}
	for first := true; ; first = false {
		receiver, err := e.attach(ctx, id, places)
		if err != nil {
			return e.refusal(id, err)
		}
		if first {
			attached()
		} else {
			e.ring()
		}
		_, err = receiver.Receive(ctx, nil)
		if closed := e.detach(ctx, receiver); closed != nil {
			return closed
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !tooLarge(err):
			return e.refusal(id, err)
		}
		e.ring()
		if now := time.Now(); now.Sub(rung) < 2*hold {
			hold, rung = min(2*hold, longestHold), now
		} else {
			hold, rung = shortestHold, now
		}
		select {
		case <-time.After(hold):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *ear) ring() { e.hearing.listeners.Ring(e.topic) }

// attach opens a receiver behind the last event of a partition. It has credit for
// one event, which it settles by sending it: nobody has to say what became of it.
func (e *ear) attach(ctx context.Context, partition string, places chan struct{}) (*amqp.Receiver, error) {
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, attaching)
	defer cancel()
	e.hearing.conn.allowed.grant()
	return e.session.NewReceiver(ctx, e.hub+"/ConsumerGroups/"+e.group+"/Partitions/"+partition, &amqp.ReceiverOptions{
		Credit: 1, MaxMessageSize: mostEvent,
		Filters:        []amqp.LinkFilter{amqp.NewSelectorFilter("amqp.annotation.x-opt-offset > '@latest'")},
		SettlementMode: amqp.ReceiverSettleModeFirst.Ptr(), RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(),
	})
}

// detach lets go of a receiver. A server that does not let go of it has another one
// with each event, which is as good as no server.
func (e *ear) detach(ctx context.Context, receiver *amqp.Receiver) error {
	ended := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	e.hearing.conn.allowed.grant()
	_ = receiver.Close(ctx) // its error is that of Receive, or the time
	if ctx.Err() != nil && !ended {
		return scaler.Errorf(codes.DeadlineExceeded, "the namespace does not close a receiver in time")
	}
	return nil
}

// tooLarge reports whether a receiver ended with an event: one that is larger than
// what is taken, which this side finds or the server, or that is none.
func tooLarge(err error) bool {
	var link *amqp.LinkError
	return errors.As(err, &link) && (link.RemoteErr == nil || link.RemoteErr.Condition == amqp.ErrCondMessageSizeExceeded)
}

// refusal says of what cannot be helped by trying again soon that listening is
// refused.
func (e *ear) refusal(partition string, err error) error {
	what := "consumer group " + e.group + " of event hub " + e.hub
	var refused *refusal
	if errors.As(err, &refused) && refused.code >= 400 && refused.code < 500 {
		return fmt.Errorf("%w: %w", scaler.ErrDoorbellRefused, scaler.Errorf(status.Code(err), "event hub %s: %w", e.hub, err))
	}
	var condition *amqp.Error
	if !errors.As(err, &condition) || !ofLink(err) {
		return err
	}
	refuse := func(code codes.Code, text string) error {
		return fmt.Errorf("%w: %w", scaler.ErrDoorbellRefused, scaler.Errorf(code, "%s: %s", what, text))
	}
	switch condition.Condition {
	case amqp.ErrCondResourceLimitExceeded:
		return refuse(codes.ResourceExhausted, "partition "+partition+" has as many readers of the group as it may have, which are five: give doorbellConsumerGroup one of its own")
	case amqp.ErrCondStolen:
		return refuse(codes.FailedPrecondition, "somebody else reads partition "+partition+" alone: give doorbellConsumerGroup a group of its own")
	case amqp.ErrCondNotFound:
		return refuse(codes.NotFound, "does not exist: doorbellConsumerGroup is one that the event hub has")
	case amqp.ErrCondUnauthorizedAccess:
		return refuse(codes.Unauthenticated, "the namespace refuses the login: it needs the right to listen, or the role Azure Event Hubs Data Receiver")
	case amqp.ErrCondNotAllowed, amqp.ErrCondNotImplemented, amqp.ErrCondInvalidField:
		return refuse(codes.FailedPrecondition, "the namespace does not let it be listened to")
	}
	return err
}
