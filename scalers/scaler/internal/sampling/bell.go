package sampling

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"

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
	// fruitlessReads is how many such reads a second all questions of one
	// connection may make.
	fruitlessReads = 40
)

// bell is the doorbell of one question, guarded by Sampler.mu. A ring carries
// no truth: all it can do is to have the question read a little earlier.
type bell struct {
	run    *bellRun
	ringAt time.Time     // a read that a ring asked for; zero for none
	lastAt time.Time     // the last read that a ring caused
	gap    time.Duration // pause between such reads; grows while they change nothing
	note   string        // why the source does not ring, in words for the user

	// backoff and why outlive the runs: a question that often goes idle and
	// back does not try more often than one that stays idle.
	backoff retry.Backoff
	why     string // it does not ring, as found last
}

// bellRun is one goroutine that listens.
type bellRun struct {
	stopped bool
	cancel  context.CancelFunc // set when the goroutine runs
	since   time.Time          // it hears since then; zero while it does not
}

// wanted is true while somebody idle, or anybody, wants the question to ring.
func (q *question) wanted(anybody bool) bool {
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

// tuneBell starts or ends listening, as the users want it. s.mu is held.
func (s *Sampler) tuneBell(q *question) {
	if q.opened == nil {
		return
	}
	ringer, rings := q.opened.source.(contract.Ringer)
	_, atWork := q.opened.source.(contract.RingerAtWork)
	if !rings || !q.wanted(atWork) {
		s.stopBell(q)
		return
	}
	if q.bell.run != nil {
		return // listening already, or about to end and to be tuned again
	}
	run, o := &bellRun{}, q.opened
	q.bell.run = run
	o.busy.Add(1)
	s.spawn(func(ctx context.Context) {
		defer o.busy.Done()
		s.listen(ctx, q, run, ringer)
	})
}

// stopBell ends listening. s.mu is held.
func (s *Sampler) stopBell(q *question) {
	q.bell.ringAt, q.bell.note = time.Time{}, ""
	run := q.bell.run
	if run == nil || run.stopped {
		return
	}
	run.stopped = true
	if run.cancel != nil {
		run.cancel()
	}
}

// listen runs until the bell is stopped or ctx ends.
func (s *Sampler) listen(ctx context.Context, q *question, run *bellRun, ringer contract.Ringer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	run.cancel = cancel
	if run.stopped {
		cancel()
	}
	s.mu.Unlock()

	for s.mayListen(ctx, q, run) {
		err := listenSafely(ctx, ringer, func() { s.hears(q, run) }, func() {
			s.Metrics.Ring(q.Type)
			s.ring(q, run)
		})
		if ctx.Err() == nil {
			s.deaf(q, run, err)
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if q.bell.run == run {
		q.bell.run = nil
		if s.questions[q.ID] == q {
			s.tuneBell(q) // it may be wanted again by now
		}
	}
}

// mayListen waits until it is time to listen, and says meanwhile why that is
// not so. It is false when ctx has ended.
func (s *Sampler) mayListen(ctx context.Context, q *question, run *bellRun) bool {
	s.mu.Lock()
	backoff, why := q.bell.backoff, q.bell.why
	s.mu.Unlock()
	s.setNote(q, run, why)
	return backoff.Wait(ctx) == nil
}

// hears notes that the source would ring from now on, and has the question
// read. Said twice, it is no better than a ring.
func (s *Sampler) hears(q *question, run *bellRun) {
	s.mu.Lock()
	again := !run.since.IsZero()
	if !again {
		run.since, q.bell.why = time.Now(), ""
	}
	s.mu.Unlock()
	if again {
		s.ring(q, run)
		return
	}
	s.setNote(q, run, "")
	s.readNow(q, run)
}

// deaf notes why listening ended, and plans when to listen again.
func (s *Sampler) deaf(q *question, run *bellRun, err error) {
	err = s.redact(q, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, contract.ErrDoorbellRefused) {
		q.bell.backoff.Rest(contract.AskAgain)
		q.bell.why = refusal(err)
	} else {
		q.bell.backoff.Ended(run.since)
		q.bell.why = "polled, because listening ended: " + reason(err)
	}
	run.since = time.Time{}
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
func (s *Sampler) setNote(q *question, run *bellRun, note string) {
	s.mu.Lock()
	if q.bell.run != run || run.stopped || q.bell.note == note {
		s.mu.Unlock()
		return
	}
	q.bell.note = note
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

// readNow has the question read once listening has begun, so that what arrived
// before is not missed.
func (s *Sampler) readNow(q *question, run *bellRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.bell.run != run || run.stopped {
		return
	}
	if q.state.busy() {
		q.bell.ringAt = time.Now() // that read may have begun too early
		return
	}
	q.next = time.Now()
	s.schedule(q)
}

// ring has the question read at once, or as soon as the limit on rings allows.
// It may be called at any rate, from anywhere.
func (s *Sampler) ring(q *question, run *bellRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.bell.run != run || run.stopped || !q.bell.ringAt.IsZero() {
		return
	}
	now := time.Now()
	q.bell.ringAt = now
	if soonest := q.bell.lastAt.Add(max(q.bell.gap, shortestRing)); soonest.After(now) {
		q.bell.ringAt = soonest
	}
	s.schedule(q)
}

// longestGap is the most that rings which change nothing have the next one wait:
// the rings of others must not keep a question from hearing its own. It grows
// with the questions that share the connection, so that however often all of
// them are rung, the source answers a bounded number of such reads.
func (q *question) longestGap() time.Duration {
	sharing := 1
	if q.opened != nil {
		sharing = q.opened.lease.Sharing()
	}
	gap := max(longestRing, time.Duration(sharing)*time.Second/fruitlessReads)
	return min(gap, max(q.interval, shortestRing))
}

// rang notes what a read that a ring caused has shown. s.mu is held.
func (s *Sampler) rang(q *question, old, snap *Snapshot) {
	if snap.Detection != scalerv1.Detection_DETECTION_DOORBELL {
		return
	}
	if snap.same(old) {
		q.bell.gap = min(max(2*q.bell.gap, 2*shortestRing), q.longestGap())
	} else {
		q.bell.gap = shortestRing
	}
	if !q.bell.ringAt.IsZero() {
		q.bell.ringAt = later(q.bell.ringAt, q.bell.lastAt.Add(q.bell.gap))
	}
}
