package scaler

import (
	"context"
	"sync"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	// largestBatch is the most questions that one request reads.
	largestBatch = 500
	// batchesAtOnce is how many requests of one batch are in flight together,
	// so that a ring need not wait for a large regular read.
	batchesAtOnce = 2
)

// batchGroup is the questions that are read together. It is guarded by sampler.mu.
type batchGroup struct {
	batch    Batch
	phase    uint64 // its members tick together
	members  map[*question]struct{}
	waiting  map[*question]struct{} // due and not yet in flight
	inFlight int
}

// joinGroup puts a question with a freshly opened source into its batch. s.mu
// is held.
func (s *sampler) joinGroup(q *question, b Batch) {
	g := s.groups[b]
	if g == nil {
		g = &batchGroup{
			batch: b, phase: phaseOf(q.id),
			members: map[*question]struct{}{},
			waiting: map[*question]struct{}{},
		}
		s.groups[b] = g
	}
	g.members[q] = struct{}{}
	q.opened.group = g
}

// leaveGroup undoes joinGroup. s.mu is held.
func (s *sampler) leaveGroup(q *question, o *opened) {
	if o.group == nil {
		return
	}
	delete(o.group.members, q)
	delete(o.group.waiting, q)
	if len(o.group.members) == 0 && s.groups[o.group.batch] == o.group {
		delete(s.groups, o.group.batch)
	}
}

// dispatchBatches starts a request for every batch with questions that are due
// and room for it. s.mu is held.
func (s *sampler) dispatchBatches(now time.Time) {
	for _, g := range s.groups {
		for len(g.waiting) > 0 && g.inFlight < batchesAtOnce {
			members := g.take(now)
			if len(members) == 0 {
				break
			}
			s.dispatchBatch(g, members)
		}
	}
}

// take empties waiting into one request and, when that holds a regular read,
// fills it up with what is due within the next tenth of its interval. Rings
// travel alone: they are to be quick.
func (g *batchGroup) take(now time.Time) []*question {
	var members []*question
	regular := false
	for q := range g.waiting {
		if len(members) == largestBatch {
			return members
		}
		delete(g.waiting, q)
		if q.reading || q.stuck || q.opened == nil || q.opened.group != g || len(q.users) == 0 {
			continue // it went away, or is on its way, meanwhile
		}
		q.reading = true
		regular = regular || !q.next.After(now)
		members = append(members, q)
	}
	if !regular {
		return members
	}
	for q := range g.members {
		if len(members) == largestBatch {
			break
		}
		if q.soon(now) {
			q.reading = true
			members = append(members, q)
		}
	}
	return members
}

// soon is true for a question that is worth reading along: it is due within a
// tenth of its interval, was not read just now, and does not back off.
func (q *question) soon(now time.Time) bool {
	return !q.reading && !q.stuck && len(q.users) > 0 && q.failures < 2 &&
		!q.next.After(now.Add(q.interval/10)) &&
		(q.snap == nil || now.Sub(q.snap.at) > q.interval/2)
}

// member is one question in flight within a batch.
type member struct {
	q     *question
	o     *opened
	cause scalerv1.Detection
}

// dispatchBatch reads the members in one request. s.mu is held.
func (s *sampler) dispatchBatch(g *batchGroup, questions []*question) {
	now := time.Now()
	g.inFlight++
	interval := time.Duration(0)
	members := make([]*member, len(questions))
	for i, q := range questions {
		s.schedule(q) // takes it out of the heap
		q.opened.busy.Add(1)
		members[i] = &member{q: q, o: q.opened, cause: q.takeCause(now)}
		interval = max(interval, q.interval)
	}
	deadline := s.deadline(interval)
	s.spawn(func(ctx context.Context) {
		s.readBatch(ctx, g.batch, members, deadline, true)
		s.mu.Lock()
		g.inFlight--
		s.poke()
		s.mu.Unlock()
		for _, m := range members {
			m.o.busy.Done()
		}
	})
}

// readBatch reads the members at once. When the whole request fails they are
// tried once more as two halves, side by side, so that one poisoned member
// cannot blind the rest.
func (s *sampler) readBatch(ctx context.Context, b Batch, members []*member, deadline time.Duration, again bool) {
	start := time.Now()
	bctx, cancel := context.WithTimeout(s.metrics.counting(ctx, members[0].q.triggerType), deadline)
	defer cancel()
	attempts := make([]*attempt, len(members))
	watchdogs := make([]*time.Timer, len(members))
	for i, m := range members {
		attempts[i], watchdogs[i] = s.begin(m.q, m.cause, deadline)
	}
	answered := newAnswers(len(members), func(i int, r Result) {
		if m := members[i]; s.returned(attempts[i], watchdogs[i]) {
			s.complete(m.q, m.cause, time.Since(start), r.Readings, inTime(bctx, r.Err))
		}
	})
	err := askBatch(bctx, b, members, answered.give)
	var kept []*member
	for _, i := range answered.close() {
		if s.returned(attempts[i], watchdogs[i]) {
			kept = append(kept, members[i])
		}
	}
	if err != nil && again && len(kept) > 1 && !refused(err) && bctx.Err() == nil {
		half := len(kept) / 2
		var both sync.WaitGroup
		both.Go(func() { s.readBatch(ctx, b, kept[:half], deadline, false) })
		s.readBatch(ctx, b, kept[half:], deadline, false)
		both.Wait()
		return
	}
	for _, m := range kept {
		s.complete(m.q, m.cause, time.Since(start), nil, inTime(bctx, unanswered(bctx, err)))
	}
}

func askBatch(ctx context.Context, b Batch, members []*member, answer func(int, Result)) (err error) {
	defer recovered("read batch", &err)
	sources := make([]Source, len(members))
	for i, m := range members {
		sources[i] = m.o.source
	}
	return b.ReadBatch(ctx, sources, answer)
}
