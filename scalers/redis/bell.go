package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// rings announces the doorbell of every type of the family. Streams ring as
// lists do: reading them with XREAD BLOCK would take a connection each.
var rings = scaler.RingsAt("while the trigger is idle, one message for each write to its key; two connections to each server, " +
	"whatever the number of triggers; needs Redis 6 and the permissions client|tracking, client|id, subscribe and &__redis__:invalidate")

// invalidations is the channel on which Redis tells that keys were written.
const invalidations = "__redis__:invalidate"

// errMoved ends listening where a key is no more.
var errMoved = errors.New("moved to another server")

// Listen rings at every write to the key, by Redis's tracking of keys in
// broadcasting mode: nothing is read or consumed. A key of a cluster that
// moves ends it: the next attempt looks where it is.
//
// Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
func (s *source) Listen(ctx context.Context, listening, ring func()) error {
	options, err := s.server.locate(ctx, s.key)
	if err != nil {
		return failure(s.server.what, s.what, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() { s.stays(ctx, options.Addr, cancel) })
	run := func(ctx context.Context, ears *scaler.Ears) error { return track(ctx, options, ears) }
	err = s.server.bell.Listen(ctx, options.Addr, s.key, run, listening, ring)
	if errors.Is(context.Cause(ctx), errMoved) {
		return fmt.Errorf("%s: %w", s.what, errMoved)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.doorbellFailure(err)
}

// relocate is how often a listener looks whether its key is still where it was.
const relocate = time.Minute

// stays returns when ctx ends, and ends it when the key has moved.
func (s *source) stays(ctx context.Context, address string, moved context.CancelCauseFunc) {
	tick := time.NewTicker(relocate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now, err := s.server.locate(ctx, s.key); err == nil && now.Addr != address {
				moved(errMoved)
			}
		}
	}
}

// doorbellFailure tells what is missing from what is broken.
func (s *source) doorbellFailure(err error) error {
	for _, prefix := range []string{"NOPERM", "ERR unknown", "ERR Unknown", "ERR syntax"} {
		if redis.HasErrorPrefix(err, prefix) {
			return fmt.Errorf("%w: %s: CLIENT TRACKING needs Redis 6 and the permissions +client|tracking, +client|id, +subscribe and &%s",
				scaler.ErrDoorbellRefused, s.server.what, invalidations)
		}
	}
	return failure(s.server.what, s.what, err)
}

// alive is how often a silent connection is checked.
const alive = 30 * time.Second

// track listens at one server. One connection receives the messages of all
// trackers. A tracker cannot forget a key, so each change of the ears makes a
// new one before the old one goes.
func track(ctx context.Context, options *redis.Options, ears *scaler.Ears) error {
	client, receiver := listener(options)
	defer client.Close()
	messages := client.Subscribe(ctx, invalidations)
	defer messages.Close()
	if _, err := messages.Receive(ctx); err != nil {
		return err
	}
	broken := make(chan error, 1)
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer messages.Close() // ends receiving
	receiving.Go(func() { broken <- receive(ctx, messages, ears) })

	var tracker *redis.Conn
	defer func() { forget(ctx, tracker) }()
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for {
		keys := ears.Topics()
		if len(keys) == 0 {
			return nil
		}
		next, err := newTracker(ctx, client, receiver(), keys)
		if err != nil {
			return err
		}
		ears.Listening(keys)
		forget(ctx, tracker)
		tracker = next
		if err := wait(ctx, tracker, ears, broken, tick.C); err != nil {
			return err
		}
	}
}

// listener is a client of its own and the id of its subscription's connection.
func listener(options *redis.Options) (client *redis.Client, id func() int64) {
	var first int64
	var once sync.Once
	own := *options
	own.PoolSize, own.PipelinePoolSize = 2, 1
	own.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		var err error
		// The subscription is the first to connect.
		once.Do(func() { first, err = cn.ClientID(ctx).Result() })
		return err
	}
	return redis.NewClient(&own), func() int64 { return first }
}

// newTracker tells the server which keys to watch and whom to tell.
func newTracker(ctx context.Context, client *redis.Client, receiver int64, keys []string) (*redis.Conn, error) {
	command := []any{"CLIENT", "TRACKING", "ON", "REDIRECT", receiver, "BCAST"}
	for _, prefix := range prefixes(keys) {
		command = append(command, "PREFIX", prefix)
	}
	tracker := client.Conn()
	if err := tracker.Do(ctx, command...).Err(); err != nil {
		_ = tracker.Close()
		return nil, err
	}
	return tracker, nil
}

// forget ends a tracker, if there is one: back in the pool it would go on.
func forget(ctx context.Context, tracker *redis.Conn) {
	if tracker != nil {
		// Also after ctx has ended, within the client's own limits.
		_ = tracker.Do(context.WithoutCancel(ctx), "CLIENT", "TRACKING", "OFF").Err()
		_ = tracker.Close()
	}
}

// prefixes are the keys, given in order, without those that begin with another
// one: Redis takes no prefixes that overlap.
func prefixes(keys []string) []string {
	var kept []string
	for _, key := range keys {
		if len(kept) == 0 || !strings.HasPrefix(key, kept[len(kept)-1]) {
			kept = append(kept, key)
		}
	}
	return kept
}

// wait returns nil when the ears have changed.
func wait(ctx context.Context, tracker *redis.Conn, ears *scaler.Ears, broken <-chan error, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ears.Changed():
			return nil
		case err := <-broken:
			return err
		case <-tick:
			if err := tracker.Ping(ctx).Err(); err != nil {
				return err
			}
		}
	}
}

// receive rings for the keys that were written.
func receive(ctx context.Context, messages *redis.PubSub, ears *scaler.Ears) error {
	for {
		message, err := messages.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		if len(message.PayloadSlice) == 0 {
			ears.Ring(message.Payload)
			continue
		}
		ears.Ring(message.PayloadSlice...)
	}
}
