package sampling

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/retry"
)

const (
	// shortestRing is the shortest time between two reads of one question that
	// rings can cause.
	shortestRing = 250 * time.Millisecond
	// longestRing is what a question waits between reads when rings change
	// nothing, unless many share its connection.
	longestRing = 400 * time.Millisecond
	// shortestRingAtWork and longestRingAtWork are the same where nobody is idle: the
	// HPA, which is made to look once a second at most, is what waits for it.
	shortestRingAtWork = time.Second
	longestRingAtWork  = 4 * time.Second
	// fruitlessReads is how many such reads a second all questions of one
	// connection may make.
	fruitlessReads = 40
)

// doorbell is that of one question, guarded by Sampler.mu. A ring carries no
// truth: all it can do is to have the question read a little earlier.
type doorbell struct {
	listener *listener     // nil while nobody listens
	ringAt   time.Time     // a read that a ring asked for; zero for none
	lastAt   time.Time     // the last read that a ring caused
	gap      time.Duration // pause between such reads; grows while they change nothing
	note     string        // why the source does not ring, in words for the user

	// backoff, why and unread outlive the listener: a question that often goes
	// idle and back does not try more often than one that stays idle.
	backoff retry.Backoff
	why     string // the source did not ring when it was tried last
	unread  bool   // Listen was called, and no Read has been completed since
}

// listener is one goroutine that listens.
type listener struct {
	stopped bool
	cancel  context.CancelFunc // set when the goroutine runs
	since   time.Time          // when Listen said that it would ring; zero before
}

// wantsDoorbell is true while somebody idle, or anybody, wants the question to
// ring.
func (q *question) wantsDoorbell(anybody bool) bool {
	for u := range q.users {
		if !u.Idle && !anybody || u.Doorbell == scalerv1.Doorbell_DOORBELL_OFF {
			continue
		}
		if u.Silent == "" || u.Doorbell == scalerv1.Doorbell_DOORBELL_ON {
			return true
		}
	}
	return false
}

// updateListening starts or ends listening, as the users want it. Listen follows
// a completed Read, so nobody listens to a source that has never answered. s.mu
// is held.
func (s *Sampler) updateListening(q *question) {
	o := q.opened
	if o == nil {
		return
	}
	ringer, rings := o.source.(contract.Ringer)
	_, atWork := o.source.(contract.RingerAtWork)
	if !rings || !q.wantsDoorbell(atWork) {
		s.stopListening(q)
		return
	}
	if !o.answered || q.doorbell.listener != nil {
		return // the one that there is may be about to end, and comes back here
	}
	l := &listener{}
	q.doorbell.listener = l
	o.busy.Add(1)
	s.spawn(func(ctx context.Context) {
		defer o.busy.Done()
		s.listen(ctx, q, l, ringer)
	})
}

// stopListening ends it. s.mu is held.
func (s *Sampler) stopListening(q *question) {
	q.doorbell.ringAt, q.doorbell.note = time.Time{}, ""
	l := q.doorbell.listener
	if l == nil || l.stopped {
		return
	}
	l.stopped = true
	if l.cancel != nil {
		l.cancel()
	}
}

// listen runs until the listener is stopped or ctx ends.
func (s *Sampler) listen(ctx context.Context, q *question, l *listener, ringer contract.Ringer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	ctx = budget.Of(ctx, q.namespace())
	l.cancel = cancel
	if l.stopped {
		cancel()
	}
	s.mu.Unlock()

	for s.mayListen(ctx, q, l) {
		err := listenSafely(ctx, ringer, func() { s.listening(q, l) }, func() {
			s.Metrics.Ring(q.Type)
			s.ring(q, l)
		})
		s.listeningEnded(ctx, q, l, err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if q.doorbell.listener == l {
		q.doorbell.listener = nil
		if s.questions[q.ID] == q {
			s.updateListening(q) // it may be wanted again by now
		}
	}
}

// mayListen waits until it is time to listen, and says meanwhile why nobody does.
// It is false when ctx has ended.
func (s *Sampler) mayListen(ctx context.Context, q *question, l *listener) bool {
	for {
		s.mu.Lock()
		backoff, why := q.doorbell.backoff, q.doorbell.why
		s.mu.Unlock()
		s.setNote(q, l, why)
		if backoff.Wait(ctx) != nil {
			return false
		}
		if s.readSinceListening(ctx, q) {
			return true
		}
	}
}

// readSinceListening is true when a Read has been completed since Listen was
// called last; it may be called again then. Where there was none, one is made now:
// the next regular one may be far off. If it fails, so has the attempt to listen.
func (s *Sampler) readSinceListening(ctx context.Context, q *question) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.doorbell.unread {
		s.readNow(q)
		if !s.await(ctx, q.done) {
			return false
		}
	}
	if q.doorbell.unread {
		q.doorbell.backoff.Ended(time.Time{})
		return false
	}
	q.doorbell.unread = true
	return true
}

// readNow has the question read at once, unless a read is in flight. s.mu is
// held.
func (s *Sampler) readNow(q *question) {
	if !q.state.busy() {
		q.next = time.Now()
		s.schedule(q)
	}
}

// listening notes that the source rings from now on, and has the question read.
// Said twice, it is no better than a ring.
func (s *Sampler) listening(q *question, l *listener) {
	s.mu.Lock()
	again := !l.since.IsZero()
	if !again {
		l.since, q.doorbell.why = time.Now(), ""
	}
	s.mu.Unlock()
	if again {
		s.ring(q, l)
		return
	}
	s.setNote(q, l, "")
	s.readOnceMore(q, l)
}

// listeningEnded notes why Listen has ended, and plans when to listen again,
// unless ctx has ended it.
func (s *Sampler) listeningEnded(ctx context.Context, q *question, l *listener, err error) {
	err = s.redact(q, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	since := l.since
	l.since = time.Time{}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, contract.ErrDoorbellRefused):
		q.doorbell.backoff.Rest(contract.AskAgain)
		q.doorbell.why = refusal(err)
	default:
		q.doorbell.backoff.Ended(since)
		q.doorbell.why = "polled, because listening ended: " + reason(err)
	}
}

func listenSafely(ctx context.Context, ringer contract.Ringer, listening, ring func()) (err error) {
	defer defect.Recovered("listen", &err)
	return ringer.Listen(ctx, listening, ring)
}

// refusal says why the source does not ring, without our own words around it.
func refusal(err error) string {
	_, message := failure.Explain(err)
	return "polled: " + strings.TrimSuffix(strings.TrimPrefix(message, contract.ErrDoorbellRefused.Error()+": "), ": "+contract.ErrDoorbellRefused.Error())
}

func reason(err error) string {
	if err == nil {
		return "no reason given"
	}
	_, message := failure.Explain(err)
	return message
}

// setNote changes why the question is polled and tells its users.
func (s *Sampler) setNote(q *question, l *listener, note string) {
	s.mu.Lock()
	if !q.has(l) || q.doorbell.note == note {
		s.mu.Unlock()
		return
	}
	q.doorbell.note = note
	if q.snap == nil {
		s.mu.Unlock()
		return
	}
	snap := *q.snap
	snap.Seq++
	snap.Note = note
	q.snap = &snap
	users := slices.Collect(maps.Keys(q.users))
	s.mu.Unlock()
	for _, u := range users {
		u.Deliver(&snap)
	}
}

// has is true until l is stopped. s.mu is held.
func (q *question) has(l *listener) bool { return q.doorbell.listener == l && !l.stopped }

// readOnceMore has the question read once listening has begun, so that what
// arrived before is not missed.
func (s *Sampler) readOnceMore(q *question, l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !q.has(l):
	case q.state.busy():
		q.doorbell.ringAt = time.Now() // that read may have begun too early
	default:
		s.readNow(q)
	}
}

// ring has the question read at once, or as soon as the limit on rings allows.
// It may be called at any rate, from anywhere.
func (s *Sampler) ring(q *question, l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !q.has(l) || !q.doorbell.ringAt.IsZero() {
		return
	}
	now := time.Now()
	q.doorbell.ringAt = now
	if soonest := q.doorbell.lastAt.Add(max(q.doorbell.gap, q.shortestGap())); soonest.After(now) {
		q.doorbell.ringAt = soonest
	}
	s.schedule(q)
}

// longestGap is the longest pause between two reads of the question that rings
// cause and that change nothing. It is short, since a question may be rung for
// work of others and then for its own. It grows with the questions that share the
// connection: however often all of them are rung, the source answers a bounded
// number of such reads.
func (q *question) longestGap() time.Duration {
	sharing := 1
	if q.opened != nil {
		sharing = q.opened.lease.Sharing()
	}
	longest := longestRing
	if !q.idle() {
		longest = longestRingAtWork
	}
	gap := max(longest, time.Duration(sharing)*time.Second/fruitlessReads)
	return min(gap, max(q.interval, q.shortestGap()))
}

// shortenGap has the pause be no longer than it may be for those who ask by now: one
// that goes to rest is not to wait as long as others at work did.
func (q *question) shortenGap() {
	q.doorbell.gap = min(q.doorbell.gap, q.longestGap())
	if soonest := q.doorbell.lastAt.Add(q.doorbell.gap); q.doorbell.ringAt.After(soonest) {
		q.doorbell.ringAt = soonest
	}
}

// shortestGap is the pause between two such reads while they change something.
func (q *question) shortestGap() time.Duration {
	if q.idle() {
		return shortestRing
	}
	return shortestRingAtWork
}

// idle is true while anybody who asks the question is.
func (q *question) idle() bool {
	for u := range q.users {
		if u.Idle {
			return true
		}
	}
	return false
}

// spaceRings sets the pause after a read that a ring caused: longer each time
// that it changed nothing. s.mu is held.
func (s *Sampler) spaceRings(q *question, old, snap *Snapshot) {
	if snap.Detection != scalerv1.Detection_DETECTION_DOORBELL {
		return
	}
	if snap.same(old) {
		q.doorbell.gap = min(max(2*q.doorbell.gap, 2*q.shortestGap()), q.longestGap())
	} else {
		q.doorbell.gap = q.shortestGap()
	}
	if !q.doorbell.ringAt.IsZero() {
		q.doorbell.ringAt = later(q.doorbell.ringAt, q.doorbell.lastAt.Add(q.doorbell.gap))
	}
}
