package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// rings announces the doorbell of every type of the family. Streams ring as
// lists do: reading them with XREAD BLOCK would take a connection each.
var rings = scaler.RingsAt("while the trigger is idle, one message for each write to its key; two connections to each server, " +
	"whatever the number of triggers; needs Redis 6 and the permissions client|tracking, client|id and &__redis__:invalidate")

// invalidations is the channel on which Redis tells that keys were written.
const invalidations = "__redis__:invalidate"

// bell hears writes to the keys of all idle triggers of a server, by Redis's
// tracking of keys in broadcasting mode: nothing is read or consumed.
//
// Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
type bell struct {
	locate func(ctx context.Context, key string) (*redis.Options, error)

	start func(run func(context.Context)) // in a goroutine that close ends and waits for
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	posts  map[string]*post // by address
}

// newBell needs to know how to connect to the server that has a key.
func newBell(locate func(context.Context, string) (*redis.Options, error)) *bell {
	ctx, stop := context.WithCancel(context.Background())
	b := &bell{locate: locate, stop: stop, posts: map[string]*post{}}
	b.start = func(run func(context.Context)) { b.done.Go(func() { run(ctx) }) }
	return b
}

// close ends all listening.
func (b *bell) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.done.Wait()
}

// relocate is how often a listener looks whether its key is still where it was.
const relocate = time.Minute

// Listen rings at every write to the key, until ctx ends.
func (s *source) Listen(ctx context.Context, listening, ring func()) error {
	b := s.server.bell
	options, err := b.locate(ctx, s.key)
	if err != nil {
		return failure(s.server.what, s.what, err)
	}
	e := &ear{key: s.key, listening: sync.OnceFunc(listening), ring: ring, failed: make(chan error, 1)}
	p, err := b.join(options, e)
	if err != nil {
		return err
	}
	defer p.leave(e)
	tick := time.NewTicker(relocate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-e.failed:
			return doorbellFailure(s.server.what, s.what, err)
		case <-tick.C:
			if now, err := b.locate(ctx, s.key); err == nil && now.Addr != options.Addr {
				return fmt.Errorf("%s: moved from %s to %s", s.what, options.Addr, now.Addr)
			}
		}
	}
}

// doorbellFailure tells what is missing from what is broken.
func doorbellFailure(server, what string, err error) error {
	for _, prefix := range []string{"NOPERM", "ERR unknown", "ERR Unknown", "ERR syntax"} {
		if redis.HasErrorPrefix(err, prefix) {
			return fmt.Errorf("%w: %s: CLIENT TRACKING needs Redis 6 and the permissions +client|tracking, +client|id, +subscribe and &%s",
				scaler.ErrDoorbellRefused, server, invalidations)
		}
	}
	return failure(server, what, err)
}

// ear is one question that listens.
type ear struct {
	key             string
	listening, ring func()
	failed          chan error // room for one
}

// post listens at one server for all ears there.
type post struct {
	bell    *bell
	address string
	changed chan struct{} // room for one: the ears are others

	mu   sync.Mutex
	ears map[*ear]struct{}
	over bool // it listens no more: others start another
}

// join adds an ear to the post at a server, and starts it for the first.
func (b *bell) join(options *redis.Options, e *ear) (*post, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("the connection is closed")
	}
	if p := b.posts[options.Addr]; p != nil && p.add(e) {
		return p, nil
	}
	p := &post{bell: b, address: options.Addr, changed: make(chan struct{}, 1), ears: map[*ear]struct{}{e: {}}}
	b.posts[options.Addr] = p
	b.start(func(ctx context.Context) {
		err := p.run(ctx, options)
		b.mu.Lock()
		if b.posts[p.address] == p {
			delete(b.posts, p.address)
		}
		b.mu.Unlock()
		p.end(err)
	})
	return p, nil
}

func (p *post) add(e *ear) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.ears[e] = struct{}{}
	p.wake()
	return true
}

func (p *post) leave(e *ear) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ears, e)
	p.wake()
}

func (p *post) wake() {
	select {
	case p.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// end tells all ears that nobody listens for them any more.
func (p *post) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for e := range p.ears {
		e.failed <- err
	}
	clear(p.ears)
}

// finish is true, and final, when there is no ear left.
func (p *post) finish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = p.over || len(p.ears) == 0
	return p.over
}

// alive is how often a silent connection is checked.
const alive = 30 * time.Second

// run listens until ctx ends, no ear is left or something fails. One
// connection receives the messages of all trackers. A tracker cannot forget a
// key, so each change of the ears makes a new one before the old one goes.
func (p *post) run(ctx context.Context, options *redis.Options) error {
	client, id := listener(options)
	defer client.Close()
	messages := client.Subscribe(ctx, invalidations)
	defer messages.Close()
	if _, err := messages.Receive(ctx); err != nil {
		return err
	}
	broken := make(chan error, 1)
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer messages.Close()
	receiving.Go(func() { broken <- p.receive(ctx, messages) })

	var tracker *redis.Conn
	defer func() { closeTracker(tracker) }()
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for !p.finish() {
		next, err := p.track(ctx, client, id())
		if err != nil {
			return err
		}
		closeTracker(tracker)
		tracker = next
		if err := p.wait(ctx, tracker, broken, tick.C); err != nil {
			return err
		}
	}
	return nil
}

// listener is a client of its own, whose subscription's connection can be told
// from others by id.
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

func closeTracker(tracker *redis.Conn) {
	if tracker != nil {
		// Back in the pool it would go on tracking.
		_ = tracker.Do(context.Background(), "CLIENT", "TRACKING", "OFF").Err()
		_ = tracker.Close()
	}
}

// track tells the server which keys to watch, and the ears that it does.
func (p *post) track(ctx context.Context, client *redis.Client, receiver int64) (*redis.Conn, error) {
	p.mu.Lock()
	var ears []*ear
	var keys []string
	for e := range p.ears {
		ears = append(ears, e)
		keys = append(keys, e.key)
	}
	p.mu.Unlock()
	command := []any{"CLIENT", "TRACKING", "ON", "REDIRECT", receiver, "BCAST"}
	for _, prefix := range prefixes(keys) {
		command = append(command, "PREFIX", prefix)
	}
	tracker := client.Conn()
	if err := tracker.Do(ctx, command...).Err(); err != nil {
		_ = tracker.Close()
		return nil, err
	}
	for _, e := range ears {
		e.listening()
	}
	return tracker, nil
}

// prefixes are the keys without those that begin with another one: Redis takes
// no prefixes that overlap.
func prefixes(keys []string) []string {
	slices.Sort(keys)
	var kept []string
	for _, key := range keys {
		if len(kept) == 0 || !strings.HasPrefix(key, kept[len(kept)-1]) {
			kept = append(kept, key)
		}
	}
	return kept
}

// wait returns nil when the ears have changed.
func (p *post) wait(ctx context.Context, tracker *redis.Conn, broken <-chan error, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.changed:
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

// receive rings the ears of the keys that were written.
func (p *post) receive(ctx context.Context, messages *redis.PubSub) error {
	for {
		message, err := messages.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		written := message.PayloadSlice
		if len(written) == 0 {
			written = []string{message.Payload}
		}
		for _, ring := range p.listeners(written) {
			ring()
		}
	}
}

func (p *post) listeners(written []string) []func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []func()
	for e := range p.ears {
		if slices.Contains(written, e.key) {
			found = append(found, e.ring)
		}
	}
	return found
}
