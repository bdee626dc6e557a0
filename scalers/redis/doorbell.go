package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// rings announces the doorbell of every type of the family. Streams ring as
// lists do: reading them with XREAD BLOCK would take a connection each.
var rings = scaler.RingsAt("the server remembers the trigger's key; a write to it costs one message and one EXISTS, " +
	"at most four times a second; two connections to each server, whatever the number of triggers; needs CLIENT TRACKING as in Redis 6 " +
	"and Valkey, and the permissions " + permissions)

// invalidations is the channel on which Redis tells that keys were written.
const invalidations = "__redis__:invalidate"

// permissions are what a user needs for the doorbell, beyond those for reads.
const permissions = "+exists, +client|tracking, +client|id, +subscribe and &" + invalidations

// errMoved ends listening where a key is no more.
var errMoved = errors.New("moved to another server")

// Listen rings at every write to the key, by Redis's tracking of keys: nothing
// is consumed. A key of a cluster that moves ends it: the next attempt looks
// where it is.
//
// Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
func (s *source) Listen(ctx context.Context, listening, ring func()) error {
	options, err := s.server.locate(ctx, s.key)
	if err != nil {
		return failure(s.server.what, s.what, err)
	}
	run := func(ctx context.Context, listeners *client.Listeners) error {
		return explainDoorbell(s.server.named(options.Addr), track(ctx, options, listeners, s.server.check))
	}
	err = s.server.doorbell.Listen(ctx, options.Addr, s.key, run, listening, ring)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, scaler.ErrDoorbellRefused):
		return err
	case errors.Is(err, errMoved):
		return fmt.Errorf("%s: %w", s.what, err)
	}
	return failure(s.server.what, s.what, err)
}

// RingsAtWork has it ring above zero, too: a burst is noticed at once.
func (s *source) RingsAtWork() {}

// explainDoorbell tells a server that does not let us listen from one that fails.
// Servers that speak Redis's protocol and track no keys have many words for it;
// all answer with an error of theirs that is none of those known to pass.
func explainDoorbell(server string, err error) error {
	var answered redis.Error
	if !errors.As(err, &answered) {
		return err
	}
	text := answered.Error()
	known, code, _ := refusalOf(text)
	switch {
	case code == codes.PermissionDenied:
		return fmt.Errorf("%w: %s: the user lacks one of the permissions that listening needs: %s", scaler.ErrDoorbellRefused, server, permissions)
	case strings.HasPrefix(text, "ERR unknown command"), strings.HasPrefix(text, "ERR") && !known:
		return fmt.Errorf("%w: %s: the server does not track keys; that takes CLIENT TRACKING with REDIRECT, as Redis 6 and Valkey have it", scaler.ErrDoorbellRefused, server)
	}
	return err
}

// How a server is told which keys to remember.
const (
	// check is how often all keys are told again: it shows that the connection
	// lives, which keys have moved, and mends what was forgotten.
	check = 30 * time.Second
	// mostTold is how many keys are told at once.
	mostTold = 500
	// shortestHold and longestHold bound the time between two rings of one key
	// that is written all the time.
	shortestHold = 250 * time.Millisecond
	longestHold  = 2 * time.Second
)

// track listens at one server. A connection receives the messages; the other
// one reads the keys, which the server remembers for it until it has told once
// that one was written. Keys that do not exist are remembered, too.
func track(ctx context.Context, options *redis.Options, listeners *client.Listeners, check time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, receiver := listener(ctx, options)
	defer client.Close()
	messages := client.Subscribe(ctx)
	defer messages.Close()
	if err := messages.Subscribe(ctx, invalidations); err != nil {
		return err
	}
	if _, err := messages.ReceiveTimeout(ctx, answerLimit); err != nil {
		return err
	}
	reader := client.Conn()
	defer reader.Close()
	if err := reader.Do(ctx, "CLIENT", "TRACKING", "ON", "REDIRECT", receiver()).Err(); err != nil {
		return err
	}
	t := &tracker{reader: reader, listeners: listeners, keys: map[string]*tracked{}, due: map[string]time.Time{}, written: make(chan []string)}
	broken := make(chan error, 1)
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer cancel() // ends receiving
	receiving.Go(func() {
		// The library takes on trust what a message is made of.
		broken <- scaler.Safely("listen at "+options.Addr, func() error { return t.receive(ctx, messages) })
	})
	return t.run(ctx, broken, check)
}

// listener is a client of its own and the id of its subscription's connection.
func listener(ctx context.Context, options *redis.Options) (client *redis.Client, id func() int64) {
	var first int64
	var once sync.Once
	own := *options
	own.PoolSize, own.PipelinePoolSize = 2, 1
	own.Dialer = until(ctx, beside(options.Dialer))
	own.MaxRetries = -1 // another connection would not be the one that tracks
	own.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		var err error
		// The subscription is the first to connect.
		once.Do(func() { first, err = cn.ClientID(ctx).Result() })
		return err
	}
	return redis.NewClient(&own), func() int64 { return first } //dials:through the Dialer of its options
}

// tracker has one server remember the keys that somebody listens to.
type tracker struct {
	reader    *redis.Conn
	listeners *client.Listeners
	written   chan []string // keys that the server told of; nil for all

	keys map[string]*tracked
	due  map[string]time.Time // when a key is to be read, for those that are

	turned, swept time.Time // when the keys were gone through, and all were written
	gone          bool      // the server has said since that all were
}

// tracked is one key that somebody listens to.
type tracked struct {
	told    bool // the server has remembered it at least once
	written bool // and it was written since
	rung    time.Time
	hold    time.Duration // after rung
}

// run returns nil when nobody listens any more.
func (t *tracker) run(ctx context.Context, broken <-chan error, check time.Duration) error {
	if !t.adopt() {
		return nil
	}
	tick := time.NewTicker(check)
	defer tick.Stop()
	for {
		next, err := t.turn(ctx)
		if err != nil {
			return err
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-broken:
		case <-t.listeners.Changed():
			if !t.adopt() {
				timer.Stop()
				return nil
			}
		case keys := <-t.written:
			t.mark(keys)
		case <-tick.C:
			t.all()
		case <-timer.C:
		}
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

// adopt takes over what is listened to now; it is false for nothing.
func (t *tracker) adopt() bool {
	topics := t.listeners.Topics()
	keys := make(map[string]*tracked, len(topics))
	var old []string
	for _, key := range topics {
		one := t.keys[key]
		switch {
		case one == nil:
			one = &tracked{}
			t.due[key] = time.Time{}
		case one.told:
			old = append(old, key)
		}
		keys[key] = one
	}
	t.keys = keys
	// A key may be listened to for another question, too.
	t.listeners.Listening(old)
	return len(topics) > 0
}

const (
	// soonestTurn is how often the keys are gone through, soonestSweep how often all
	// of them count as written: a server may say so at any rate.
	soonestTurn  = 10 * time.Millisecond
	soonestSweep = 250 * time.Millisecond
)

// turn reads what is due, unless it has done so a moment ago. It returns when to come
// back.
func (t *tracker) turn(ctx context.Context) (next time.Duration, err error) {
	now := time.Now()
	if early := soonestTurn - now.Sub(t.turned); early > 0 {
		return early, nil
	}
	t.turned = now
	later := check
	if t.gone {
		if later = soonestSweep - now.Sub(t.swept); later <= 0 {
			later, t.gone, t.swept = check, false, now
			for key, one := range t.keys {
				t.markOne(key, one)
			}
		}
	}
	next, err = t.read(ctx)
	return min(next, later), err
}

// mark plans the reading of keys that were written: at once, or later for those
// that have rung a moment ago.
func (t *tracker) mark(keys []string) {
	t.gone = t.gone || keys == nil
	for _, key := range keys {
		if one := t.keys[key]; one != nil {
			t.markOne(key, one)
		}
	}
}

func (t *tracker) markOne(key string, one *tracked) {
	one.written = true
	t.due[key] = one.rung.Add(one.hold)
}

// all plans the reading of all keys.
func (t *tracker) all() {
	for key := range t.keys {
		if _, waits := t.due[key]; !waits {
			t.due[key] = time.Time{}
		}
	}
}

// read reads the keys that are due, so that the server remembers them, and then
// rings for those that were written: whoever reads them now misses nothing. It
// returns when to come back.
func (t *tracker) read(ctx context.Context) (next time.Duration, err error) {
	now, next := time.Now(), check
	var keys []string
	for key, at := range t.due {
		switch {
		case t.keys[key] == nil:
			delete(t.due, key)
		case at.After(now):
			next = min(next, at.Sub(now))
		case len(keys) == mostTold:
			next = 0
		default:
			delete(t.due, key)
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return next, nil
	}
	remembered, err := t.tell(ctx, keys)
	if err != nil {
		return 0, err
	}
	t.announce(remembered)
	return next, nil
}

// tell reads keys in one pipeline and returns those that the server remembers.
// The others fail, each for itself.
func (t *tracker) tell(ctx context.Context, keys []string) ([]string, error) {
	pipe := t.reader.Pipeline()
	answers := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		answers[i] = pipe.Exists(ctx, key)
	}
	_, _ = pipe.Exec(ctx) // each answer has its own error
	remembered := keys[:0]
	for i, key := range keys {
		err := answers[i].Err()
		switch {
		case err == nil:
			remembered = append(remembered, key)
		case redis.HasErrorPrefix(err, "MOVED"), redis.HasErrorPrefix(err, "ASK"):
			t.listeners.Fail(key, errMoved)
		case redis.HasErrorPrefix(err, "NOPERM"):
			t.listeners.Fail(key, fmt.Errorf("%w: key %s: the user lacks the permission +exists", scaler.ErrDoorbellRefused, key))
		default:
			return nil, err
		}
	}
	return remembered, nil
}

// announce says of keys that the server remembers that they are listened to,
// and rings for those that were written before.
func (t *tracker) announce(keys []string) {
	now := time.Now()
	var fresh, written []string
	for _, key := range keys {
		one := t.keys[key]
		if !one.told {
			one.told = true
			fresh = append(fresh, key)
		}
		if one.written {
			one.ring(now)
			written = append(written, key)
		}
	}
	t.listeners.Listening(fresh)
	t.listeners.Ring(written...)
}

// ring notes a ring, and holds the next one back the longer the less time has
// passed since the one before.
func (k *tracked) ring(now time.Time) {
	if now.Sub(k.rung) < 2*k.hold {
		k.hold = min(2*k.hold, longestHold)
	} else {
		k.hold = shortestHold
	}
	k.rung, k.written = now, false
}

// allWritten is what the library makes of the message that all keys are gone.
const allWritten = "redis: unsupported pubsub message payload: <nil>"

// receive hands over the keys that were written.
func (t *tracker) receive(ctx context.Context, messages *redis.PubSub) error {
	for {
		message, err := messages.ReceiveMessage(ctx)
		var keys []string
		switch {
		case err != nil && err.Error() == allWritten:
		case err != nil:
			return err
		default:
			keys = append(message.PayloadSlice, message.Payload)
		}
		select {
		case t.written <- keys:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
