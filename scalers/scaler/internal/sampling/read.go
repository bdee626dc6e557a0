package sampling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/tracing"
)

// opened is an open source with what belongs to it.
type opened struct {
	source contract.Source
	lease  *pool.Lease
	group  *batchGroup // of a Batched, else nil
	pace   pace        // guarded by Sampler.mu
	stop   context.CancelFunc
	busy   sync.WaitGroup // calls into source that have not returned

	answered bool // a Read was completed; guarded by Sampler.mu
	givenUp  bool // others are to have its room; same

	specs      []contract.Metric // as a Specced named them last; guarded by Sampler.mu
	specsStale bool              // Specs is to be called before the next Read; same
	// specsSilent is true when the source cannot tell that its specs change;
	// same.
	specsSilent bool
}

// Deadline is how long one read for a trigger may take: the interval, but not
// less than shortestDeadline nor more than ReadTimeout; and as long as the
// trigger itself says, but not more than MaxReadTimeout.
func (s *Sampler) Deadline(timeout, interval time.Duration) time.Duration {
	usual := min(max(interval, shortestDeadline), s.ReadTimeout)
	return max(usual, min(timeout, s.MaxReadTimeout))
}

// deadlineOf is how long a read of a question may take that many may ask: as
// long as whoever of them has the most time. s.mu is held.
func (s *Sampler) deadlineOf(q *question) time.Duration { return s.Deadline(q.Timeout, q.longest) }

// takeCause returns what makes the sampler read now. The read answers every ring
// that came before it, whether or not one caused it; a ring that comes while it
// lasts asks for another. s.mu is held.
func (q *question) takeCause(now time.Time) scalerv1.Detection {
	ringAt := q.doorbell.ringAt
	q.doorbell.ringAt = time.Time{}
	if ringAt.IsZero() || ringAt.After(now) || !q.next.After(now) {
		return q.regular()
	}
	q.doorbell.lastAt = now
	return scalerv1.Detection_DETECTION_DOORBELL
}

// regular is how the question is read without a ring.
func (q *question) regular() scalerv1.Detection {
	if q.opened != nil {
		if _, timed := q.opened.source.(contract.Timed); timed {
			return scalerv1.Detection_DETECTION_TIMER
		}
	}
	return scalerv1.Detection_DETECTION_POLLING
}

// attempt is one read, or opening and read, of one question. Whichever is first of
// its return and its deadline makes a snapshot, and ends it.
type attempt struct {
	q        *question
	cause    scalerv1.Detection
	watchdog *time.Timer
	over     bool // guarded by Sampler.mu
}

// begin notes that a read starts and arranges that a source which does not
// return at the deadline is left behind: the question then fails at every tick
// until it does. s.mu is held.
func (s *Sampler) begin(q *question, cause scalerv1.Detection, deadline time.Duration) *attempt {
	a := &attempt{q: q, cause: cause}
	a.watchdog = time.AfterFunc(deadline+stuckAfter, func() { s.abandon(a, deadline) })
	q.began = time.Now()
	return a
}

func (s *Sampler) abandon(a *attempt, took time.Duration) {
	s.mu.Lock()
	if a.over || !a.q.state.busy() {
		s.mu.Unlock()
		return
	}
	a.over, a.q.state = true, telling
	s.mu.Unlock()
	s.complete(a.q, a.cause, took, nil, errStuck)
}

// errStuck is the failure of a source that does not keep its deadline.
var errStuck = status.Error(codes.DeadlineExceeded, "the source does not answer in time")

// returned ends an attempt. It is false when the sampler has gone on without
// it: its result is dropped.
func (s *Sampler) returned(a *attempt) bool {
	a.watchdog.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.over {
		a.over = true // the watchdog comes too late
		return true
	}
	a.q.state = a.q.state.returned()
	return false
}

// repeatFailure stands for a read that cannot be made, because the one before
// still has not returned.
func (s *Sampler) repeatFailure(q *question) {
	s.complete(q, q.regular(), 0, nil, errStuck)
}

// read opens the question's source if need be and reads it. A Batched that was
// just opened is handed to its batch instead.
func (s *Sampler) read(ctx context.Context, q *question, cause scalerv1.Detection) {
	s.mu.Lock()
	if len(q.users) == 0 && ctx.Err() == nil { // they have left while it waited
		q.state = q.state.completed()
		s.schedule(q)
		s.mu.Unlock()
		return
	}
	deadline, o := s.deadlineOf(q), q.opened
	if o != nil {
		o.busy.Add(1)
	}
	s.mu.Unlock()
	if o == nil {
		var err error
		if o, err = s.open(ctx, q, cause, deadline); err != nil || o == nil {
			return
		}
	}
	defer o.busy.Done()
	if s.handOver(q, o) {
		return
	}
	if madeWay := s.readAs(ctx, q, o, s.isSlow(o), cause, deadline); madeWay {
		s.readAs(ctx, q, o, true, cause, deadline)
	}
}

func (s *Sampler) isSlow(o *opened) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return o.pace.slow
}

// readAs reads an open source, as a quick or as a slow one. It is true when a read
// that was taken for quick lasted too long and was ended for others: it has no
// result, and is to be made again as a slow one.
func (s *Sampler) readAs(ctx context.Context, q *question, o *opened, slow bool, cause scalerv1.Detection, deadline time.Duration) (madeWay bool) {
	ctx = s.reading(ctx, q)
	p, err := o.lease.Places().Enter(ctx, slow, deadline)
	if err != nil {
		s.complete(q, cause, 0, nil, err)
		return false
	}
	defer p.Leave()
	start := time.Now()
	rctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	rctx, end := context.WithCancelCause(rctx)
	defer end(nil)
	stop := p.Watch(end)
	s.mu.Lock()
	a := s.begin(q, cause, deadline)
	s.mu.Unlock()
	readings, err := s.askSource(rctx, o)
	stop()
	if !s.returned(a) {
		return false
	}
	if err != nil && errors.Is(context.Cause(rctx), pool.ErrMakeWay) {
		return true
	}
	err = failure.InTime(rctx, err)
	took := time.Since(start)
	s.mu.Lock()
	o.pace.slow = p.Remember(o.pace.slow, took, err)
	s.mu.Unlock()
	s.complete(q, cause, took, readings, err)
	return false
}

// reading is the context of a read that is made for one question. The memory that it
// holds, and the requests that it makes, are counted for one namespace: of several
// that ask, for the one with the fewest reads under way.
func (s *Sampler) reading(ctx context.Context, q *question) context.Context {
	namespace, counted := ctx.Value(countedKey{}).(string)
	if !counted {
		s.mu.Lock()
		namespace = q.namespace()
		s.mu.Unlock()
	}
	return budget.Of(s.Metrics.Counting(ctx, q.Type), namespace)
}

// handOver leaves the reading of a Batched, which was just opened, to its
// batch.
func (s *Sampler) handOver(q *question, o *opened) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.group == nil {
		return false
	}
	q.state = resting
	q.next = time.Now()
	s.schedule(q)
	return true
}

// askSource reads one source: its specs first, where it names them itself.
func (s *Sampler) askSource(ctx context.Context, o *opened) (readings []contract.Reading, err error) {
	defer defect.Recovered("read", &err)
	defer o.lease.Reading()()
	if err := s.refreshSpecs(ctx, o); err != nil {
		return nil, err
	}
	return o.source.Read(ctx)
}

// open opens the source and counts the caller as one who uses it. It returns
// nil and no error when the question went away meanwhile or did not wait; a
// failure has become the read's outcome already.
func (s *Sampler) open(ctx context.Context, q *question, cause scalerv1.Detection, deadline time.Duration) (*opened, error) {
	start := time.Now()
	life, stop := context.WithCancel(ctx)
	o := &opened{lease: s.Pool.Lease(q.Hosts, func() []string { return s.payers(q) }), stop: stop, specsStale: true}
	o.lease.GiveUp = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.givenUp = true
		if q.opened == o && q.state == resting { // else once it is completed
			s.dispose(q)
			s.schedule(q) // and opened again when there is room
		}
	}
	octx, cancel := context.WithTimeout(o.lease.Context(ctx), deadline)
	defer cancel()
	s.mu.Lock()
	a := s.begin(q, cause, deadline)
	s.mu.Unlock()
	metered := o.lease.Opening()
	source, err := openSafely(octx, q.Query)
	metered()
	kept := s.returned(a)
	if err != nil {
		o.close()
		if kept {
			s.complete(q, cause, time.Since(start), nil, failure.InTime(octx, err))
		}
		return nil, err
	}
	o.source = source

	s.mu.Lock()
	if !kept || s.questions[q.ID] != q {
		s.mu.Unlock()
		o.close()
		return nil, nil
	}
	defer s.mu.Unlock()
	o.busy.Add(1)
	q.opened = o
	if b, ok := source.(contract.Batched); ok {
		s.joinGroup(q, b.Batch())
	}
	if specced, ok := source.(contract.Specced); ok {
		o.busy.Add(1)
		s.running.Go(func() {
			defer o.busy.Done()
			s.watchSpecs(life, q, o, specced)
		})
	}
	return o, nil
}

func openSafely(ctx context.Context, asked Query) (source contract.Source, err error) {
	defer defect.Recovered("open", &err)
	source, err = asked.Open(ctx)
	if err == nil && source == nil {
		err = fmt.Errorf("%w: open returned no source", defect.Err)
	}
	return source, err
}

// close ends what watches the source, waits for the calls into it and closes
// it, then gives its connections back.
func (o *opened) close() {
	o.stop()
	o.busy.Wait()
	if o.source != nil {
		if err := closeSafely(o.source); err != nil {
			return // a panic: its connections are in nobody's hands now
		}
	}
	o.lease.Release()
}

func closeSafely(source contract.Source) (err error) {
	defer defect.Recovered("close", &err)
	if c, ok := source.(io.Closer); ok {
		_ = c.Close() // nobody is left who could do anything about it
	}
	return nil
}

// dispose closes the question's source, if it is open, without being waited
// for; the question may open another meanwhile. s.mu is held.
func (s *Sampler) dispose(q *question) {
	o := q.opened
	if o == nil {
		return
	}
	q.opened = nil
	s.stopListening(q)
	s.leaveGroup(q, o)
	s.spawn(func(context.Context) { o.close() })
}

// complete makes a snapshot of what a read came to, plans the next one and
// tells everybody who asks the question.
func (s *Sampler) complete(q *question, cause scalerv1.Detection, took time.Duration, readings []contract.Reading, err error) {
	err = s.redact(q, err)
	s.mu.Lock()
	now := time.Now()
	old := q.snap
	snap := &Snapshot{Seq: 1, At: now, Took: took, Detection: cause, Note: q.doorbell.note}
	if old != nil {
		snap.Seq, snap.Last = old.Seq+1, old.Last
	}
	want := q.Metrics
	if q.opened != nil && q.opened.specs != nil {
		snap.Specs = q.opened.specs
		want = len(snap.Specs)
	} else if old != nil {
		snap.Specs = old.Specs
	}
	if err == nil && len(readings) != want {
		err = fmt.Errorf("%w: %d readings for %d metrics", defect.Err, len(readings), want)
	}
	snap.judge(readings, err)
	snap.Traceparent = tracing.Read{
		Type: q.Type, At: snap.At, Took: snap.Took, Outcome: snap.Outcome, Cause: snap.Detection, Err: snap.Err,
	}.Trace(s.tracer)
	q.snap = snap
	q.state, q.began = q.state.completed(), time.Time{}
	s.plan(q, old, snap, now)
	q.wake()
	users := slices.Collect(maps.Keys(q.users))
	s.mu.Unlock()

	s.Metrics.Read(q.Type, snap.Outcome, snap.Detection, snap.Took, snap.Err)
	s.report(q, old, snap)
	for _, u := range users {
		u.Deliver(snap)
	}
}

// redact takes the credentials of a question out of an error, which is kept. There
// may be many, and nobody waits for the search.
func (s *Sampler) redact(q *question, err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	secrets := q.secrets
	s.mu.Unlock()
	return failure.Settled(failure.Redact(err, secrets))
}

// plan decides when the question is read next. s.mu is held.
func (s *Sampler) plan(q *question, old, snap *Snapshot, now time.Time) {
	s.spaceRings(q, old, snap)
	if snap.Err == nil {
		q.failures, q.doorbell.unread = 0, false
		if q.opened != nil {
			q.opened.answered = true
		}
		q.lasts = max(snap.Took, q.lasts*3/4) // a slow one is not forgotten at once
	} else {
		q.failures++
		if q.opened != nil && q.opened.specs != nil {
			q.opened.specsStale = true
		}
	}
	if failure.Refused(snap.Err) || q.opened != nil && q.opened.givenUp {
		// Opened again with what the credentials are by then. Any other
		// failure leaves a connection that may be healthy alone.
		s.dispose(q)
	}
	if q.interval > 0 && s.questions[q.ID] == q {
		if snap.Detection != scalerv1.Detection_DETECTION_DOORBELL {
			q.pay(now.Add(-snap.Took))
		}
		q.next, q.awaited = s.regularly(q, now)
		if q.failures > 1 {
			q.next = later(q.next, now.Add(pauseAfter(q.interval, q.failures)))
		}
	}
	s.updateListening(q)
	s.schedule(q)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func nextSafely(t contract.Timed, now time.Time) (next time.Time) {
	var err error
	defer defect.Recovered("next", &err)
	return t.Next(now)
}

// pauseAfter is the pause after so many failures in a row: the interval, doubled
// with each, up to four intervals or a minute, and never below the interval.
func pauseAfter(interval time.Duration, failures int) time.Duration {
	pause := interval << min(max(failures-1, 0), 2)
	return max(min(pause, longestBackoff), interval)
}

// report logs when a question starts and stops failing. Steady state is
// silent, a steady failure too.
func (s *Sampler) report(q *question, old, snap *Snapshot) {
	was := old != nil && old.Err != nil
	switch {
	case snap.Err != nil && !was:
		st := failure.Status(q.Type, snap.Err)
		s.Log.Warn("source does not answer", "type", q.Type, "code", st.Code().String(), "reason", st.Message())
	case snap.Err == nil && was:
		s.Log.Info("source answers again", "type", q.Type)
	}
}
