package sampling

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

const (
	// largestBatch is the most questions that one request reads.
	largestBatch = 500
	// batchesAtOnce is how many requests of one lane are in flight together,
	// so that a ring need not wait for a large regular read.
	batchesAtOnce = 2
	// aloneAtOnce is how many members of one lane are read each by itself.
	aloneAtOnce = 16
)

// batchGroup is the questions that are read together. It is guarded by Sampler.mu.
type batchGroup struct {
	batch     contract.Batch
	undivided bool   // one answer for all: nobody is read alone
	gathered  bool   // one member costs as much as all
	phase     uint64 // its members tick together
	members   map[*question]struct{}
	// fast is for members that answer, slow for those that did not the last
	// time, so that nobody waits for them.
	fast, slow lane
	// parked is true while members wait for room in the crowd.
	parked bool
}

// lane is the members of a batch that are due.
type lane struct {
	waiting map[*question]struct{} // to be read together
	alone   []*member              // to be read each by itself; reading already
	// requests and reads are those under way of either kind that hold a place.
	requests, reads int
}

// lane is where a member waits for its next read.
func (g *batchGroup) lane(o *opened) *lane {
	if o.pace.slow {
		return &g.slow
	}
	return &g.fast
}

// member is one question on its way through a batch.
type member struct {
	*attempt
	o        *opened
	deadline time.Duration
	until    time.Time
	// silent is true after the batch left it without an answer, and reason
	// what is known about that.
	silent bool
	reason error
}

// joinGroup puts a question with a freshly opened source into its batch. s.mu
// is held.
func (s *Sampler) joinGroup(q *question, b contract.Batch) {
	g := s.groups[b]
	if g == nil {
		g = &batchGroup{
			batch: b, phase: phaseOf(q.ID),
			members: map[*question]struct{}{},
			fast:    lane{waiting: map[*question]struct{}{}},
			slow:    lane{waiting: map[*question]struct{}{}},
		}
		_, g.undivided = b.(contract.Undivided)
		_, g.gathered = b.(contract.Gathered)
		g.gathered = g.gathered || g.undivided
		s.groups[b] = g
	}
	g.members[q] = struct{}{}
	q.opened.group = g
}

// leaveGroup undoes joinGroup. s.mu is held.
func (s *Sampler) leaveGroup(q *question, o *opened) {
	if o.group == nil {
		return
	}
	delete(o.group.members, q)
	for _, l := range []*lane{&o.group.fast, &o.group.slow} {
		delete(l.waiting, q)
		l.alone = slices.DeleteFunc(l.alone, func(m *member) bool { return m.q == q && m.watchdog.Stop() })
	}
	if len(o.group.members) == 0 && s.groups[o.group.batch] == o.group {
		delete(s.groups, o.group.batch)
		delete(s.pending, o.group)
	}
}

// queue puts a member that is due where it waits for its read. s.mu is held.
func (s *Sampler) queue(q *question, now time.Time) {
	l := q.opened.group.lane(q.opened)
	s.pending[q.opened.group] = struct{}{}
	if q.opened.pace.byItself(now) {
		l.alone = append(l.alone, s.member(q, now, s.deadlineOf(q)))
	} else {
		l.waiting[q] = struct{}{}
	}
}

// member begins the read of a member. s.mu is held.
func (s *Sampler) member(q *question, now time.Time, deadline time.Duration) *member {
	q.state = reading
	s.schedule(q) // takes it out of the heap
	a := s.begin(q, q.takeCause(now), deadline)
	return &member{attempt: a, o: q.opened, deadline: deadline, until: now.Add(deadline)}
}

// dispatchBatches starts what is due in batches and has a place. s.mu is held.
func (s *Sampler) dispatchBatches(now time.Time) {
	for g := range s.pending {
		delete(s.pending, g)
		s.dispatchGroup(g, now)
	}
}

func (s *Sampler) dispatchGroup(g *batchGroup, now time.Time) {
	for _, l := range []*lane{&g.fast, &g.slow} {
		for len(l.waiting) > 0 && l.requests < batchesAtOnce {
			namespace, room := s.first(l)
			if !room {
				s.park(g, namespace)
				break
			}
			if questions := g.take(l, now); len(questions) > 0 {
				s.dispatchBatch(g, l, namespace, questions)
			}
		}
		s.dispatchAlone(g, l)
	}
}

// first is a namespace that waits in a lane: one that has room, if any has. The
// request is its, whoever else is read by it.
func (s *Sampler) first(l *lane) (namespace string, room bool) {
	for q := range l.waiting {
		if namespace = q.namespace(); s.crowd.room(namespace) {
			return namespace, true
		}
	}
	return namespace, false
}

// park has a group looked at again when a namespace has room.
func (s *Sampler) park(g *batchGroup, namespace string) {
	if g.parked {
		return
	}
	g.parked = true
	s.crowd.wait(namespace, func() {
		g.parked = false
		s.dispatchGroup(g, time.Now())
	})
}

// take empties waiting into one request and, when that holds a regular read,
// fills it up with what is due within the next tenth of its interval. A request
// of rung members alone is not filled up, so that it is quick.
func (g *batchGroup) take(l *lane, now time.Time) []*question {
	var questions []*question
	regular := false
	for q := range l.waiting {
		if len(questions) == largestBatch {
			return questions
		}
		delete(l.waiting, q)
		if q.state != resting || q.opened == nil || q.opened.group != g || len(q.users) == 0 {
			continue // it has left, or is being read already
		}
		q.state = reading
		regular = regular || !q.next.After(now)
		questions = append(questions, q)
	}
	if !regular {
		return questions
	}
	for q := range g.members {
		if len(questions) == largestBatch {
			break
		}
		if q.soon(now) && g.lane(q.opened) == l && !q.opened.pace.alone {
			q.state = reading
			questions = append(questions, q)
		}
	}
	return questions
}

// soon is true for a question that is worth reading along: it is due, or asked,
// within its window, was not read just now, and does not back off.
func (q *question) soon(now time.Time) bool {
	due := q.next
	if !q.awaited.IsZero() && q.awaited.Before(due) {
		due = q.awaited
	}
	return q.state == resting && len(q.users) > 0 && q.failures < 2 &&
		!due.After(now.Add(q.window())) &&
		(q.snap == nil || now.Sub(q.snap.At) > q.interval/2)
}

// dispatchBatch reads the questions in one request. s.mu is held.
func (s *Sampler) dispatchBatch(g *batchGroup, l *lane, namespace string, questions []*question) {
	now := time.Now()
	deadline := time.Duration(0)
	for _, q := range questions {
		deadline = max(deadline, s.deadlineOf(q))
	}
	members := make([]*member, len(questions))
	for i, q := range questions {
		members[i] = s.member(q, now, deadline)
		members[i].o.busy.Add(1)
	}
	leave := s.hold(g, &l.requests, deadline/10)
	s.count(namespace, func(ctx context.Context) {
		s.readBatch(ctx, g, l, members, true)
		leave()
		for _, m := range members {
			m.o.busy.Done()
		}
	})
}

// hold takes a place until the returned function is called, or for so long at
// most. What takes longer goes on without a place: it keeps nobody waiting, and
// its own deadline bounds it. s.mu is held.
func (s *Sampler) hold(g *batchGroup, taken *int, long time.Duration) func() {
	*taken++
	leave := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		*taken--
		s.pending[g] = struct{}{}
		s.poke()
	})
	timer := time.AfterFunc(long, leave)
	return func() {
		timer.Stop()
		leave()
	}
}

// readBatch reads the members at once. Fast ones that have not answered at half
// of the time are asked each by itself in the other half; slow ones have all of
// it. When the request fails they are tried once more as two halves, side by
// side, so that one poisoned member cannot blind the rest.
func (s *Sampler) readBatch(ctx context.Context, g *batchGroup, l *lane, members []*member, again bool) {
	start := time.Now()
	budget := members[0].until.Sub(start)
	divided := l == &g.fast && !g.undivided
	if divided {
		budget /= 2
	}
	bctx, cancel := context.WithTimeout(s.reading(ctx, members[0].q), budget)
	defer cancel()
	answers := newAnswers(bctx, len(members), func(i int, r contract.Result) {
		s.answered(members[i], false, time.Since(start), r)
	})
	err := askBatch(bctx, g.batch, members, answers.give)
	var left []*member
	for _, i := range answers.close() {
		members[i].reason = failure.InTime(bctx, answers.missing(i, err))
		left = append(left, members[i])
	}
	switch {
	case bctx.Err() == nil && err != nil && again && len(left) > 1 && !g.undivided && !failure.Refused(err):
		half := len(left) / 2
		var both sync.WaitGroup
		both.Go(func() { s.readBatch(ctx, g, l, left[:half], false) })
		s.readBatch(ctx, g, l, left[half:], false)
		both.Wait()
	case bctx.Err() != nil && divided && ctx.Err() == nil:
		s.askAlone(g, l, left)
	default:
		for _, m := range left {
			s.answered(m, false, time.Since(start), contract.Result{Err: m.reason})
		}
	}
}

func askBatch(ctx context.Context, b contract.Batch, members []*member, answer func(int, contract.Result)) (err error) {
	defer defect.Recovered("read batch", &err)
	sources := make([]contract.Source, len(members))
	for i, m := range members {
		sources[i] = m.o.source
		defer m.o.lease.Reading()()
	}
	return b.ReadBatch(ctx, sources, answer)
}

// askAlone has the members that their batch did not answer read each by itself.
func (s *Sampler) askAlone(g *batchGroup, l *lane, members []*member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range members {
		m.silent = true
		if s.questions[m.q.ID] == m.q {
			l.alone = append(l.alone, m)
		} else {
			m.watchdog.Stop()
		}
	}
	s.pending[g] = struct{}{}
	s.poke()
}

// dispatchAlone starts reads of single members while there are places for them.
// It picks them at random, so that none is always the last. s.mu is held.
func (s *Sampler) dispatchAlone(g *batchGroup, l *lane) {
	var late, crowded []*member
	for len(l.alone) > 0 && l.reads < aloneAtOnce {
		last := len(l.alone) - 1
		pick := rand.IntN(len(l.alone))
		m := l.alone[pick]
		l.alone[pick], l.alone[last] = l.alone[last], nil
		l.alone = l.alone[:last]
		switch {
		case !time.Now().Before(m.until):
			late = append(late, m)
		case s.crowd.room(m.q.namespace()):
			s.readAlone(g, l, m)
		default:
			crowded = append(crowded, m)
		}
	}
	if len(crowded) > 0 {
		l.alone = append(l.alone, crowded...)
		s.park(g, crowded[0].q.namespace())
	}
	if len(late) > 0 {
		s.spawn(func(context.Context) {
			for _, m := range late {
				s.unasked(m)
			}
		})
	}
}

// readAlone reads one member by itself. s.mu is held.
func (s *Sampler) readAlone(g *batchGroup, l *lane, m *member) {
	m.o.busy.Add(1)
	long := m.deadline
	if l == &g.fast {
		long /= 10
	}
	leave := s.hold(g, &l.reads, long)
	s.count(m.q.namespace(), func(ctx context.Context) {
		defer m.o.busy.Done()
		defer leave()
		start := time.Now()
		rctx, cancel := context.WithDeadline(s.reading(ctx, m.q), m.until)
		defer cancel()
		readings, err := s.askSource(rctx, m.o)
		s.answered(m, true, time.Since(start), contract.Result{Readings: readings, Err: failure.InTime(rctx, err)})
	})
}

// answered ends a member's read with what came of it.
func (s *Sampler) answered(m *member, alone bool, took time.Duration, r contract.Result) {
	s.mu.Lock()
	switch {
	case m.o.group == nil || m.o.group.undivided:
	case failure.Unheard(r.Err):
		m.o.pace.silent()
	default:
		m.o.pace.answered(alone, took <= m.deadline/2, time.Now())
	}
	s.mu.Unlock()
	if s.returned(m.attempt) {
		s.complete(m.q, m.cause, took, r.Readings, r.Err)
	}
}

// unasked ends a member's read that could not be made in time.
func (s *Sampler) unasked(m *member) {
	s.mu.Lock()
	if m.silent || m.o.pace.slow {
		m.o.pace.silent()
	}
	s.mu.Unlock()
	if s.returned(m.attempt) {
		s.complete(m.q, m.cause, 0, nil, cmp.Or(m.reason, pool.ErrBusy))
	}
}
