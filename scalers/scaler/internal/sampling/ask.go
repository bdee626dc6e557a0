package sampling

import (
	"context"
	"time"
)

const (
	// patience is how long a caller waits for a shared read, and how fast the
	// read before must have been for the caller to wait at all.
	patience = 250 * time.Millisecond
	// shortestPress is the shortest time between two reads of a question for those
	// who know of a later reading than it has.
	shortestPress = time.Second
)

// Freshness is how old an answer may be.
type Freshness struct {
	// An answer older than allowed is read again where reads are quick. Twice
	// the allowed age is given at the most.
	Allowed time.Duration
	// Who names the object whose HPA's metrics are requested. Such requests come
	// again, and their answers can be read beforehand. nil for any other caller.
	Who any
	// Pressing is the age above which the question is read again although that
	// costs a read too many, at most once in shortestPress; 0 for none.
	Pressing time.Duration
}

// Ask returns the snapshot of u's question, as fresh as f has it, once u has
// joined one.
//
// A question that was never read is waited for within ctx, or until u leaves
// it. For a snapshot that is too old the caller waits for one shared read, but
// only where the read before was quick, and never longer than patience. ok is
// false when there is none to give.
func (s *Sampler) Ask(ctx context.Context, u *User, f Freshness) (snap *Snapshot, ok bool) {
	select {
	case <-u.joined:
	case <-ctx.Done():
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A snapshot older than wanted is replaced where a read can be spared for it.
	var at *phase
	wanted := f.Allowed
	if u.q != nil && f.Who != nil && !u.q.gathered() {
		at, wanted = s.asked(u.q, f.Who, time.Now())
	}
	for u.q != nil && u.q.snap == nil {
		if !s.await(ctx, u.q.done) {
			return nil, false
		}
	}
	q := u.q
	if q == nil {
		return nil, false
	}
	snap = q.snap
	wait := s.press(q, f.Pressing)
	if f.Pressing == 0 {
		wait = s.hurry(q, at, wanted, f.Allowed)
	}
	if wait > 0 {
		brief, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		s.await(brief, q.done)
		if q.snap != nil { // others may have left and come back meanwhile
			snap = q.snap
		}
	}
	// A failure goes on being one until a read says otherwise.
	return snap, snap.Err != nil || time.Since(snap.At) < 2*f.Allowed
}

// await waits without the lock until done is closed, and reports whether that
// was within ctx. s.mu is held.
func (s *Sampler) await(ctx context.Context, done <-chan struct{}) bool {
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// hurry has the question read now where its snapshot is too old for a request of
// phase at and a read is likely to be quick. It returns how long to wait for it.
// s.mu is held.
func (s *Sampler) hurry(q *question, at *phase, wanted, allowed time.Duration) time.Duration {
	now := time.Now()
	age := now.Sub(q.snap.At)
	if age < wanted || !q.hurries() {
		return 0
	}
	if q.state.busy() {
		return q.rest(now)
	}
	if age < allowed && !q.spares(at, now) {
		return 0
	}
	q.next = now
	s.schedule(q)
	return patience
}

// hurries is true where a read is likely to be quick.
func (q *question) hurries() bool {
	return q.snap.Took < patience && !q.state.late() && q.failures < 2
}

// rest is how long to wait for the read in flight: one that lasts is not quick.
func (q *question) rest(now time.Time) time.Duration {
	if q.began.IsZero() {
		return patience
	}
	return patience - now.Sub(q.began)
}

// press has the question read now where its snapshot is older than age, if that is
// likely to be quick. It returns how long to wait for it. s.mu is held.
func (s *Sampler) press(q *question, age time.Duration) time.Duration {
	now := time.Now()
	switch {
	case age == 0, now.Sub(q.snap.At) <= age, !q.hurries():
		return 0
	case q.state.busy():
		return q.rest(now)
	case now.Sub(q.pressed) < shortestPress:
		return 0
	}
	q.pressed, q.next = now, now
	s.schedule(q)
	return patience
}
