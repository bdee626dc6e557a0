package credentials

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
)

// How long what was read is kept.
const (
	// readEvery is how old a Secret may be before it is read again. What it
	// leads to is in effect well within a minute.
	readEvery = 45 * time.Second
	// retryAfter is how long a failure stands for all who ask, so that a
	// thousand triggers of one absent Secret are one read.
	retryAfter = 2 * time.Second
	// longestKept is how long a value goes on while it cannot be read again
	// because nobody answers. A definite answer, that it is gone or no longer
	// granted, counts at once.
	longestKept = time.Hour
	// unusedFor is how long a value stays in memory that nobody asks for.
	unusedFor = 5 * time.Minute
	// readLimit bounds one read.
	readLimit = 8 * time.Second
	// readsAtOnce bounds the reads of one shelf.
	readsAtOnce = 16
)

// shelf keeps what was read, once for all who ask: one read of a key at a
// time, its result shared, failures too.
type shelf[K comparable, V any] struct {
	name   string // of what is kept, for the log
	log    *slog.Logger
	places chan struct{}

	ctx     context.Context //nolint:containedctx // of reads, which outlive those who ask
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	entries map[K]*entry[V]
	sweeper *time.Timer // nil while there is nothing to sweep
	closed  bool
}

// entry is one key on the shelf.
type entry[V any] struct {
	value V
	err   error
	begun time.Time     // when the last read that ended had begun; zero before
	good  time.Time     // when the value was read
	again time.Time     // when it is to be read again
	used  time.Time     // when it was last asked for
	turn  chan struct{} // closed when the read under way has ended; or nil
	stale bool          // the value stands although the last read failed
}

// read gets a value and says when to get it again; zero is after readEvery.
type read[V any] func(context.Context) (value V, again time.Time, err error)

func newShelf[K comparable, V any](name string, log *slog.Logger) *shelf[K, V] {
	ctx, stop := context.WithCancel(context.Background())
	return &shelf[K, V]{
		name: name, log: log, ctx: ctx, stop: stop,
		places: make(chan struct{}, readsAtOnce), entries: map[K]*entry[V]{},
	}
}

// close ends the reads and forgets everything.
func (s *shelf[K, V]) close() {
	s.mu.Lock()
	s.closed = true
	clear(s.entries)
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// take returns the value for key, from a read that began at notBefore or
// later, and when it is to be read again.
func (s *shelf[K, V]) take(ctx context.Context, key K, notBefore time.Time, get read[V]) (V, time.Time, error) {
	for {
		s.mu.Lock()
		e := s.entry(key)
		now := time.Now()
		e.used = now
		if e.turn == nil && now.Before(e.again) && !e.begun.Before(notBefore) || s.closed {
			defer s.mu.Unlock()
			return e.value, e.again, e.err
		}
		if e.turn == nil {
			e.turn = make(chan struct{})
			s.running.Go(func() { s.fill(key, e, now, get) })
		}
		turn := e.turn
		s.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			var none V
			return none, time.Time{}, timedOut(ctx)
		}
	}
}

func timedOut(ctx context.Context) error {
	return status.FromContextError(ctx.Err()).Err()
}

// entry finds or makes an entry; s.mu is held.
func (s *shelf[K, V]) entry(key K) *entry[V] {
	e := s.entries[key]
	if e == nil {
		e = new(entry[V])
		s.entries[key] = e
		if s.sweeper == nil {
			s.sweeper = time.AfterFunc(unusedFor, s.sweep)
		}
	}
	return e
}

// read turns a panic of a store's client into an error.
func (s *shelf[K, V]) read(ctx context.Context, get read[V]) (value V, again time.Time, err error) {
	defer defect.Recovered("read of "+s.name, &err)
	return get(ctx)
}

// fill reads one value.
func (s *shelf[K, V]) fill(key K, e *entry[V], begun time.Time, get read[V]) {
	var value V
	var again time.Time
	err := s.enter()
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, readLimit)
		value, again, err = s.read(ctx, get)
		cancel()
		<-s.places
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wasStale := e.stale
	switch {
	case err == nil:
		e.value, e.err, e.good, e.stale = value, nil, now, false
		if again.IsZero() {
			again = now.Add(readEvery)
		}
		e.again = again
	case transient(status.Code(err)) && !e.good.IsZero() && now.Sub(e.good) < longestKept:
		e.stale = true
		e.again = now.Add(retryAfter)
	default:
		var none V
		e.value, e.err, e.good, e.stale = none, err, time.Time{}, false
		e.again = now.Add(retryAfter)
	}
	e.begun = begun
	close(e.turn)
	e.turn = nil
	if e.stale && !wasStale {
		s.log.Warn("credentials cannot be read again and stand as they are", "what", s.name, "key", key, "since", e.good, "reason", status.Convert(err).Message())
	}
}

// enter waits for a place among the reads.
func (s *shelf[K, V]) enter() error {
	select {
	case s.places <- struct{}{}:
		return nil
	case <-s.ctx.Done():
		return timedOut(s.ctx)
	}
}

// sweep forgets what nobody asked for of late.
func (s *shelf[K, V]) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for key, e := range s.entries {
		if e.turn == nil && time.Since(e.used) >= unusedFor {
			delete(s.entries, key)
		}
	}
	s.sweeper = nil
	if len(s.entries) > 0 {
		s.sweeper = time.AfterFunc(unusedFor, s.sweep)
	}
}

// transient is true for failures that say nothing about what was asked for.
func transient(code codes.Code) bool {
	return slices.Contains(transientCodes, code)
}

var transientCodes = []codes.Code{
	codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Unknown, codes.Aborted,
}
