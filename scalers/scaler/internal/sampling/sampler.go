// Package sampling decides when each source is read, shares the answer among all
// who ask for it and keeps the last one.
//
// A source that can ring is listened to while somebody wants that. Listen follows
// a completed Read: the first call comes after the first Read that succeeded, and
// between two calls there is another one.
package sampling

import (
	"container/heap"
	"context"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// How the sampler spends time.
const (
	// shortestDeadline is the least time that a read is given, however short
	// the interval: a query may well take longer than the pause between two.
	shortestDeadline = 3 * time.Second
	// longestBackoff bounds the pause after repeated failures, unless the
	// interval itself is longer.
	longestBackoff = time.Minute
	// KeepFor is how long a question stays open after its last user.
	KeepFor = time.Minute
	// stuckAfter is how long past its deadline a read may take to return
	// before the sampler goes on without it.
	stuckAfter = 500 * time.Millisecond
)

// Sampler decides when each question is read, shares the answer among all who ask
// it and keeps the last one. One goroutine keeps one timer for all questions. A
// read has a goroutine of its own while it lasts, and so has each source that is
// listened to.
type Sampler struct {
	Config
	tracer trace.Tracer
	epoch  time.Time // phases count from here

	mu        sync.Mutex
	questions map[string]*question
	groups    map[contract.Batch]*batchGroup
	pending   map[*batchGroup]struct{} // that may have members to be read
	crowd     *crowd
	due       dueHeap
	work      []func(context.Context) // to be run by a goroutine of Start
	wake      chan struct{}           // has room for one
	running   sync.WaitGroup
}

// Config is what a sampler is made of.
type Config struct {
	Log         *slog.Logger
	Metrics     *metrics.Metrics
	Spans       trace.TracerProvider // told of every read; nil for none
	Pool        *pool.Pool
	ReadTimeout time.Duration
	// MaxReadTimeout bounds what triggers ask for themselves.
	MaxReadTimeout time.Duration
}

// New makes a sampler, which does nothing before Start.
func New(c Config) *Sampler {
	if c.Spans == nil {
		c.Spans = noop.NewTracerProvider()
	}
	c.MaxReadTimeout = max(c.ReadTimeout, c.MaxReadTimeout)
	return &Sampler{
		Config:    c,
		tracer:    c.Spans.Tracer("github.com/sluice-autoscaler/sluice/scalers/scaler"),
		epoch:     time.Now(),
		questions: map[string]*question{},
		groups:    map[contract.Batch]*batchGroup{},
		pending:   map[*batchGroup]struct{}{},
		crowd:     newCrowd(),
		wake:      make(chan struct{}, 1),
	}
}

// question is what several triggers may ask alike. All fields are guarded by
// Sampler.mu, except those of opened that say otherwise.
type question struct {
	Query            // of any user: they open the same source
	secrets []string // never to be shown in an error
	crowd   *crowd   // of the sampler

	users    map[*User]struct{}
	interval time.Duration // the shortest of the users'; 0 without users
	longest  time.Duration // of the users' intervals
	expires  time.Time     // when the question is closed; set without users

	opened  *opened // the open source, or nil
	state   state
	next    time.Time     // the regular read
	awaited time.Time     // when a request is expected, without which next is the read; or zero
	paid    time.Time     // until when the regular reads so far are enough
	phases  phases        // when the HPA controller requests it
	pressed time.Time     // when it was read last for who was pressing
	began   time.Time     // when the read in flight began; zero before
	lasts   time.Duration // how long good reads last
	index   int           // in the heap, -1 when not there
	wakeAt  time.Time     // position in the heap

	snap     *Snapshot
	done     chan struct{} // closed when the next snapshot stands, or nobody asks
	failures int           // reads failed in a row
	doorbell doorbell
}

// wake lets go who waits for the next snapshot. Sampler.mu is held.
func (q *question) wake() {
	close(q.done)
	q.done = make(chan struct{})
}

// User is one subscription's share in a question. The sampler owns q; the
// other fields are written under Sampler.mu after join.
type User struct {
	Wish
	Silent  string // why the doorbell stays off unasked, or ""
	Secrets []string
	Payer   string // the namespace whose share of what the family holds is used
	// Deliver is called with every new snapshot, not under any lock. Two calls
	// may overlap; seq tells which snapshot is newer.
	Deliver func(*Snapshot)

	joined chan struct{} // closed by join
	q      *question     // nil before join and after leave
}

// Wish is how a user wants a question read.
type Wish struct {
	Interval time.Duration
	Idle     bool
	Doorbell scalerv1.Doorbell
}

// NewUser makes one that has joined no question yet.
func NewUser(w Wish) *User { return &User{Wish: w, joined: make(chan struct{})} }

// payers are the namespaces that use the question.
func (s *Sampler) payers(q *question) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return payersOf(q) // none when it was left while it is opened
}

// Join makes u a user of a question, which is read at once unless somebody
// reads it already. What is known is delivered before join returns.
func (s *Sampler) Join(asked Query, u *User) {
	s.mu.Lock()
	now := time.Now()
	q := s.questions[asked.ID]
	if q == nil {
		q = &question{Query: asked, crowd: s.crowd, users: map[*User]struct{}{}, index: -1, done: make(chan struct{})}
		s.questions[q.ID] = q
		s.Metrics.Questions(q.Type, 1)
	}
	if len(q.users) == 0 {
		if q.snap != nil && now.Sub(q.snap.At) > u.Interval {
			q.snap = nil // nobody kept it fresh
		}
		q.next = now
	}
	if len(u.Secrets) > 0 {
		q.secrets = u.Secrets
	}
	u.q = q
	q.users[u] = struct{}{}
	s.updatePacing(q, now)
	snap := q.snap
	s.mu.Unlock()
	close(u.joined)
	if snap != nil {
		u.Deliver(snap)
	}
}

// Change gives u another interval, mode or doorbell.
func (s *Sampler) Change(u *User, w Wish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Wish = w
	if u.q != nil {
		s.updatePacing(u.q, time.Now())
	}
}

// Leave ends u's share. The question is kept a while for those who come back.
func (s *Sampler) Leave(u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := u.q
	if q == nil {
		return
	}
	u.q = nil
	delete(q.users, u)
	now := time.Now()
	if len(q.users) == 0 {
		q.expires, q.phases = now.Add(KeepFor), phases{}
		// Nobody may ever read it again: who waits for that is not to.
		q.wake()
	}
	s.updatePacing(q, now)
}

// updatePacing works out a question's interval and doorbell after its users or its
// source changed. s.mu is held.
func (s *Sampler) updatePacing(q *question, now time.Time) {
	old := q.interval
	q.interval, q.longest = 0, 0
	for u := range q.users {
		q.longest = max(q.longest, u.Interval)
		if q.interval == 0 || u.Interval < q.interval {
			q.interval = u.Interval
		}
	}
	if q.interval > 0 {
		q.interval = max(q.interval, scalerv1.ShortestInterval)
	}
	if q.interval > 0 && old != q.interval {
		q.limitPaid(now)
		if next, awaited := s.regularly(q, now); q.failures == 0 && (next.Before(q.next) || q.next.IsZero()) {
			q.next, q.awaited = next, awaited
		}
	}
	q.shortenGap()
	s.updateListening(q)
	s.schedule(q)
}

// aligned is the first tick of the question after t. Ticks of questions with
// different phases are spread over the interval, so that a thousand objects
// created together do not tick together; members of a batch tick together.
func (s *Sampler) aligned(q *question, t time.Time) time.Time {
	phase := phaseOf(q.ID)
	if q.opened != nil && q.opened.group != nil {
		phase = q.opened.group.phase
	}
	offset := time.Duration(phase % uint64(q.interval))
	since := t.Sub(s.epoch) - offset
	ticks := since / q.interval
	if since < 0 {
		ticks--
	}
	elapsed := time.Duration(int64(ticks+1) * int64(q.interval))
	return s.epoch.Add(offset + elapsed)
}

// phaseOf spreads names evenly over time.
func phaseOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// schedule puts the question into the heap at the time of its next event. While
// a read is in flight it takes it out: the end of the read puts it back. s.mu is
// held.
func (s *Sampler) schedule(q *question) {
	at := q.next
	switch {
	case s.questions[q.ID] != q, q.state.busy():
		if q.index >= 0 {
			heap.Remove(&s.due, q.index)
		}
		return
	case len(q.users) == 0:
		at = q.expires
	case !q.doorbell.ringAt.IsZero() && q.doorbell.ringAt.Before(at):
		at = q.doorbell.ringAt
	}
	q.wakeAt = at
	if q.index >= 0 {
		heap.Fix(&s.due, q.index)
	} else {
		heap.Push(&s.due, q)
	}
	if q.index == 0 {
		s.poke()
	}
}

// poke makes Start look at the heap and the work again.
func (s *Sampler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// spawn runs f on a goroutine that Start owns. s.mu is held.
func (s *Sampler) spawn(f func(context.Context)) {
	s.work = append(s.work, f)
	s.poke()
}

// Start samples until ctx ends, then closes every source and connection. It
// returns when all of that is done, or after the limit, when a source does not
// let go.
func (s *Sampler) Start(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(s.dispatch(ctx))
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
	s.shutdown(limit) //nolint:contextcheck // closing goes on after ctx has ended
}

// dispatch starts what is due and returns the time until the next event.
func (s *Sampler) dispatch(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.due) > 0 && !s.due[0].wakeAt.After(now) {
		q := heap.Pop(&s.due).(*question)
		s.tick(q, now)
	}
	s.dispatchBatches(now)
	for _, f := range s.work {
		s.running.Go(func() { f(ctx) })
	}
	s.work = nil
	if len(s.due) == 0 {
		return time.Hour
	}
	return s.due[0].wakeAt.Sub(now)
}

// tick does what is due for one question. s.mu is held.
func (s *Sampler) tick(q *question, now time.Time) {
	switch {
	case len(q.users) == 0:
		s.remove(q)
	case q.state == stuck:
		// The read before still has not returned, and the contract allows no
		// second one beside it: its failure is told once more.
		s.spawn(func(context.Context) { s.repeatFailure(q) })
		q.state = telling
	case q.opened != nil && q.opened.group != nil:
		s.queue(q, now)
	default:
		q.state = reading
		cause := q.takeCause(now)
		s.inTurn(q.namespace(), func(ctx context.Context) { s.read(ctx, q, cause) })
	}
}

// inTurn runs a read once its namespace may have another. s.mu is held.
func (s *Sampler) inTurn(namespace string, read func(context.Context)) {
	if s.crowd.room(namespace) {
		s.count(namespace, read)
	} else {
		s.crowd.wait(namespace, func() { s.count(namespace, read) })
	}
}

// countedKey has the namespace that a read is counted for.
type countedKey struct{}

// count runs a read that is counted as one of its namespace. s.mu is held.
func (s *Sampler) count(namespace string, read func(context.Context)) {
	s.crowd.enter(namespace)
	s.spawn(func(ctx context.Context) {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.crowd.leave(namespace)
		}()
		read(context.WithValue(ctx, countedKey{}, namespace))
	})
}

// remove closes a question that nobody asks any more. s.mu is held.
func (s *Sampler) remove(q *question) {
	delete(s.questions, q.ID)
	s.Metrics.Questions(q.Type, -1)
	if q.index >= 0 {
		heap.Remove(&s.due, q.index)
	}
	s.dispose(q)
}

// shutdown closes all questions and waits for everything that Start started.
func (s *Sampler) shutdown(limit time.Duration) {
	s.mu.Lock()
	for _, q := range s.questions {
		s.remove(q)
	}
	s.crowd.open()
	work := s.work
	s.work = nil
	s.mu.Unlock()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range work {
		s.running.Go(func() { f(ended) })
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.Log.Warn("a source does not let go at shutdown")
	}
}

// dueHeap orders questions by the time of their next event.
type dueHeap []*question

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].wakeAt.Before(h[j].wakeAt) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push and Pop are called by container/heap.
func (h *dueHeap) Push(x any) {
	q := x.(*question)
	q.index = len(*h)
	*h = append(*h, q)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	q.index = -1
	return q
}

// Size is how much the sampler keeps: questions, those that are due, and
// batches.
func (s *Sampler) Size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.questions) + len(s.due) + len(s.groups)
}

// Refresh has every question read again and waits for the answers.
func (s *Sampler) Refresh(ctx context.Context) error {
	s.mu.Lock()
	var questions []*question
	for _, q := range s.questions {
		if len(q.users) > 0 {
			questions = append(questions, q)
		}
	}
	s.mu.Unlock()
	for _, q := range questions {
		// A read that is in flight may have begun before what the caller wants
		// to see, so it is waited for first.
		for {
			s.mu.Lock()
			inFlight, done := q.state.busy(), q.done
			if len(q.users) == 0 { // they have left since
				s.mu.Unlock()
				break
			}
			if !inFlight {
				q.next = time.Now()
				s.schedule(q)
			}
			s.mu.Unlock()
			select {
			case <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if !inFlight {
				break
			}
		}
	}
	return nil
}
