package credentials

import (
	"container/list"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/identity/turns"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
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
	// readsAtOnce bounds the reads of one shelf, and readsOfNamespace those that
	// one namespace asks for: stores of a tenant may never answer, and a tenant
	// may name any number of objects. Of those who wait, the namespace with the
	// fewest is next, and the last four are for those with none.
	readsAtOnce      = 16
	readsOfNamespace = 4
)

// How much of what was read is kept, in bytes. What does not fit is read again
// when it is asked for.
const (
	// mostOfNamespace is for one namespace on one shelf.
	mostOfNamespace = 4 << 20
	// mostOfShelf is for all of them together. Who has most of it gives way.
	mostOfShelf = 16 << 20
	// perEntry is what an entry takes beside its key and its value.
	perEntry = 512
)

// keyed is a key: it tells the namespace that what is kept counts for, and its
// length.
type keyed interface {
	comparable
	tenant() string
	size() int
}

// sized is a value that tells its length.
type sized interface{ size() int }

// shelf keeps what was read, once for all who ask: one read of a key at a
// time, its result shared, failures too. No namespace has another's go.
type shelf[K keyed, V sized] struct {
	name  string // of what is kept, for the log
	log   *slog.Logger
	paced time.Duration // how often a value is read again because it was refused

	ctx     context.Context //nolint:containedctx // of reads, which outlive those who ask
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	entries map[K]*entry[K, V]
	tenants map[string]*tenant[K, V]   // those that have entries
	line    *turns.Line[chan struct{}] // of namespaces whose objects ask, for reads
	bytes   int                        // of all
	sweeper *time.Timer                // nil while there is nothing to sweep
	closed  bool
}

// tenant is a namespace and what is kept for it.
type tenant[K keyed, V sized] struct {
	order list.List // of its entries, the one to go first at the back
	bytes int
}

// entry is one key on the shelf.
type entry[K keyed, V sized] struct {
	key    K
	tenant *tenant[K, V]
	place  *list.Element // in the tenant's order; nil once it went
	bytes  int           // as they count

	value V
	err   error
	begun time.Time     // when the last read that ended had begun; zero before
	good  time.Time     // when the value was read
	again time.Time     // when it is to be read again
	used  time.Time     // when it was last asked for
	turn  chan struct{} // closed when the read under way has ended; or nil
	begin chan struct{} // closed when a read begins that is waited for; or nil
	// refusals are those upon which it was read again.
	refusals refusal.Pace
	stale    bool // the value stands although the last read failed
}

// read gets a value and says when to get it again; zero is after readEvery.
type read[V sized] func(context.Context) (value V, again time.Time, err error)

func newShelf[K keyed, V sized](name string, paced time.Duration, log *slog.Logger) *shelf[K, V] {
	ctx, stop := context.WithCancel(context.Background())
	return &shelf[K, V]{
		name: name, log: log, ctx: ctx, stop: stop, paced: paced,
		entries: map[K]*entry[K, V]{}, tenants: map[string]*tenant[K, V]{},
		line: turns.NewLine[chan struct{}](readsAtOnce, readsOfNamespace).Leaving(1),
	}
}

// close ends the reads and forgets everything.
func (s *shelf[K, V]) close() {
	s.mu.Lock()
	s.closed = true
	clear(s.entries)
	clear(s.tenants)
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// take returns the value for key, from a read that began at notBefore or later, as
// far as its pace allows, and when it is to be read again. asker is the namespace that asks: a
// read has a place of whoever of all that wait for it has one first. What is not
// there is waited for, which waits is told before.
func (s *shelf[K, V]) take(ctx context.Context, asker string, key K, notBefore time.Time, waits func(), get read[V]) (V, time.Time, error) {
	var none V
	var e *entry[K, V]
	var leave func() // gives a place back; nil without one
	defer func() {
		if leave != nil {
			leave()
		}
	}()
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return none, time.Time{}, errClosed
		}
		if e == nil || e.place == nil && !s.serves(e, notBefore) {
			e = s.entry(key)
		}
		now := time.Now()
		e.used = now
		if s.serves(e, notBefore) {
			defer s.mu.Unlock()
			e.moveUp()
			return e.value, e.again, e.err
		}
		if e.turn == nil && leave != nil {
			if e.begun.Before(notBefore) && !e.begun.IsZero() {
				e.refusals.Count(now)
			}
			s.start(e, now, get, leave)
			leave = nil
		}
		turn := e.turn
		if turn == nil && e.begin == nil {
			e.begin = make(chan struct{})
		}
		begin := e.begin
		s.mu.Unlock()
		if leave != nil {
			leave() // another reads it
			leave = nil
		}
		waits()
		var err error
		if turn != nil {
			err = wait(ctx, turn)
		} else {
			leave, err = s.enter(ctx, asker, begin)
		}
		if err != nil {
			return none, time.Time{}, err
		}
	}
}

// start reads an entry, of which everybody hears who waits for it; s.mu is held.
func (s *shelf[K, V]) start(e *entry[K, V], now time.Time, get read[V], leave func()) {
	e.turn = make(chan struct{})
	if e.begin != nil {
		close(e.begin)
		e.begin = nil
	}
	s.running.Go(func() { s.fill(e, now, get, leave) })
}

// wait waits for something to be closed.
func wait(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return timedOut(ctx)
	}
}

// errClosed is the failure of whoever asks once the family ends.
var errClosed = status.Error(codes.Canceled, "the family ends")

func timedOut(ctx context.Context) error {
	return status.FromContextError(ctx.Err()).Err()
}

// serves reports whether the entry is what a read at notBefore or later says, or one
// that is not read again so soon: many triggers of a tenant may be refused one after
// the other.
func (s *shelf[K, V]) serves(e *entry[K, V], notBefore time.Time) bool {
	now := time.Now()
	return e.turn == nil && now.Before(e.again) && (!e.begun.Before(notBefore) || e.err == nil && !e.refusals.Due(now, s.paced))
}

// moveUp has the entry stay longest, unless it is a failure: names of what is
// not there cost nothing.
func (e *entry[K, V]) moveUp() {
	switch {
	case e.place == nil:
	case e.err != nil:
		e.tenant.order.MoveToBack(e.place)
	default:
		e.tenant.order.MoveToFront(e.place)
	}
}

// entry finds or makes an entry; s.mu is held.
func (s *shelf[K, V]) entry(key K) *entry[K, V] {
	e := s.entries[key]
	if e == nil {
		t := s.tenants[key.tenant()]
		if t == nil {
			t = &tenant[K, V]{}
			s.tenants[key.tenant()] = t
		}
		e = &entry[K, V]{key: key, tenant: t}
		e.place = t.order.PushBack(e)
		s.entries[key] = e
		s.weigh(e, 0)
		if s.sweeper == nil {
			s.sweeper = time.AfterFunc(unusedFor, s.sweep)
		}
	}
	return e
}

// weigh counts an entry with a value of so many bytes; s.mu is held.
func (s *shelf[K, V]) weigh(e *entry[K, V], value int) {
	bytes := perEntry + e.key.size() + value
	s.bytes += bytes - e.bytes
	e.tenant.bytes += bytes - e.bytes
	e.bytes = bytes
}

// remove forgets an entry that is not being read; s.mu is held.
func (s *shelf[K, V]) remove(e *entry[K, V]) {
	t := e.tenant
	t.order.Remove(e.place)
	e.place = nil
	t.bytes -= e.bytes
	s.bytes -= e.bytes
	delete(s.entries, e.key)
	if t.order.Len() == 0 {
		delete(s.tenants, e.key.tenant())
	}
}

// trim has a namespace, and then all of them, keep to their share; s.mu is held.
func (s *shelf[K, V]) trim(t *tenant[K, V]) {
	for t.bytes > mostOfNamespace && s.drop(t) {
	}
	for s.bytes > mostOfShelf && s.drop(s.largest()) {
	}
}

// drop forgets one entry of a namespace, if there is one that is not being read.
func (s *shelf[K, V]) drop(t *tenant[K, V]) bool {
	for place := t.order.Back(); place != nil; place = place.Prev() {
		if e := place.Value.(*entry[K, V]); e.turn == nil { //nolint:forcetypeassert // there is nothing else
			s.remove(e)
			return true
		}
	}
	return false
}

// largest is the namespace for which most is kept; s.mu is held.
func (s *shelf[K, V]) largest() (most *tenant[K, V]) {
	for _, t := range s.tenants {
		if most == nil || t.bytes > most.bytes {
			most = t
		}
	}
	return most
}

// read turns a panic of a store's client into an error.
func (s *shelf[K, V]) read(ctx context.Context, get read[V]) (value V, again time.Time, err error) {
	defer defect.Recovered("read of "+s.name, &err)
	return get(ctx)
}

// fill reads one value, and gives the place for it back.
func (s *shelf[K, V]) fill(e *entry[K, V], begun time.Time, get read[V], leave func()) {
	ctx, cancel := context.WithTimeout(s.ctx, readLimit)
	value, again, err := s.read(ctx, get)
	cancel()
	leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wasStale := e.stale
	weight := 0
	switch {
	case err == nil:
		weight = value.size()
		e.value, e.err, e.good, e.stale = value, nil, now, false
		if again.IsZero() {
			again = now.Add(readEvery)
		}
		e.again = again
	case transient(status.Code(err)) && !e.good.IsZero() && now.Sub(e.good) < longestKept:
		weight = e.value.size()
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
	if !s.closed {
		s.weigh(e, weight)
		e.moveUp()
		s.trim(e.tenant)
	}
	if e.stale && !wasStale {
		s.log.Warn("credentials cannot be read again and stand as they are", "what", s.name, "key", e.key, "since", e.good, "reason", status.Convert(err).Message())
	}
}

// enter waits for a place for a read, in turns of the namespaces that ask. There
// is none, and no error, once the read has begun for which it is wanted.
func (s *shelf[K, V]) enter(ctx context.Context, asker string, begun <-chan struct{}) (leave func(), err error) {
	s.mu.Lock()
	turn := s.line.Wait(asker, make(chan struct{}), false)
	s.admit()
	s.mu.Unlock()
	leave = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.line.Leave(asker)
		s.admit()
	}
	select {
	case <-turn.Value:
		return leave, nil
	case <-begun:
	case <-ctx.Done():
		err = timedOut(ctx)
	case <-s.ctx.Done():
		err = errClosed
	}
	s.mu.Lock()
	waited := s.line.GiveUp(turn)
	s.mu.Unlock()
	if !waited {
		leave() // it came at the same moment
	}
	return nil, err
}

// admit lets those in for whom there is a place; s.mu is held.
func (s *shelf[K, V]) admit() {
	for turn, ok := s.line.Next(); ok; turn, ok = s.line.Next() {
		close(turn.Value)
	}
}

// sweep forgets what nobody asked for of late.
func (s *shelf[K, V]) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, e := range s.entries {
		if e.turn == nil && time.Since(e.used) >= unusedFor {
			s.remove(e)
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
