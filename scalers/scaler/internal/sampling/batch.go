package sampling

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/identity/turns"
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
	// aloneAtOnce is how many members of one lane are read each by itself, and
	// aloneOfOne how many of one namespace: slow ones hold their places for long.
	aloneAtOnce = 16
	aloneOfOne  = 12
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
	// parked has the namespaces whose members wait for room in the crowd, to be read
	// by themselves, and together that of a request for several.
	parked   map[string]struct{}
	together bool
	// heard is when a member was last answered.
	heard time.Time
}

// lane is the members of a batch that are due.
type lane struct {
	waiting queue // to be read together
	// due are those to be read each by itself that came lately, and alone those
	// that wait for a place; they are reading already.
	due   []*member
	alone queue
	// requests are those under way that hold a place, of either kind.
	requests int
}

func newLane() lane {
	return lane{waiting: newQueue(math.MaxInt, math.MaxInt), alone: newQueue(aloneAtOnce, aloneOfOne)}
}

// queue is who waits for a place, in turns of their namespaces.
type queue struct {
	line *turns.Line[waiter]
	of   map[*question]*turns.Turn[waiter]
}

// waiter is a question that waits, and its read if that has begun.
type waiter struct {
	q *question
	m *member
}

func newQueue(places, ofOne int) queue {
	return queue{turns.NewLine[waiter](places, ofOne), map[*question]*turns.Turn[waiter]{}}
}

// wait adds a question that does not wait yet.
func (u *queue) wait(w waiter) {
	if u.of[w.q] == nil {
		u.of[w.q] = u.line.Wait(w.q.namespace(), w, false)
	}
}

// next takes the next one in. Who asks gives its place back to the namespace that
// it is of.
func (u *queue) next() (w waiter, of string, ok bool) {
	turn, ok := u.line.Next()
	if !ok {
		return waiter{}, "", false
	}
	delete(u.of, turn.Value.q)
	return turn.Value, turn.Of, true
}

// leave takes a question out.
func (u *queue) leave(q *question) {
	if turn := u.of[q]; turn != nil {
		u.line.GiveUp(turn)
		delete(u.of, q)
	}
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
	o         *opened
	namespace string // whose read it is
	deadline  time.Duration
	since     time.Time
	until     time.Time
	// single is true while it is asked for by a request for nobody else.
	single bool
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
			parked:  map[string]struct{}{},
			fast:    newLane(),
			slow:    newLane(),
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
		l.waiting.leave(q)
		l.due = slices.DeleteFunc(l.due, func(m *member) bool { return m.q == q && m.watchdog.Stop() })
		if turn := l.alone.of[q]; turn != nil && turn.Value.m.watchdog.Stop() {
			l.alone.leave(q)
		}
	}
	if len(o.group.members) == 0 && s.groups[o.group.batch] == o.group {
		delete(s.groups, o.group.batch)
		delete(s.pending, o.group)
	}
}

// queue puts a member that is due where it waits for its read. One that was found
// to be refused is told so again. s.mu is held.
func (s *Sampler) queue(q *question, now time.Time) {
	p := &q.opened.pace
	if err := p.refusal(now); err != nil {
		cause := q.takeCause(now)
		q.state = reading
		s.schedule(q)
		s.spawn(func(context.Context) { s.complete(q, cause, 0, nil, err) })
		return
	}
	l := q.opened.group.lane(q.opened)
	s.pending[q.opened.group] = struct{}{}
	if p.byItself(now) {
		l.due = append(l.due, s.member(q, now, s.deadlineOf(q)))
	} else {
		l.waiting.wait(waiter{q: q})
	}
}

// member begins the read of a member. s.mu is held.
func (s *Sampler) member(q *question, now time.Time, deadline time.Duration) *member {
	q.state = reading
	s.schedule(q) // takes it out of the heap
	a := s.begin(q, q.takeCause(now), deadline)
	return &member{
		attempt: a, o: q.opened, namespace: q.namespace(),
		deadline: deadline, since: now, until: now.Add(deadline),
	}
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
		for l.waiting.line.Due() && l.requests < batchesAtOnce {
			questions := g.take(l)
			if len(questions) == 0 {
				continue
			}
			if namespace := s.namespaceOf(questions...); !s.crowd.room(namespace) {
				g.putBack(l, questions)
				s.park(g, namespace)
				break
			}
			s.dispatchBatch(g, l, g.fill(l, questions, now))
		}
		s.dispatchAlone(g, l)
	}
}

// park has a group looked at again when there is room for a request for several.
func (s *Sampler) park(g *batchGroup, namespaces string) {
	if g.together {
		return
	}
	g.together = true
	s.crowd.wait(namespaces, func() {
		g.together = false
		s.dispatchGroup(g, time.Now())
	})
}

// parkAlone has a group looked at again when a namespace has room, whatever room
// others have to wait for.
func (s *Sampler) parkAlone(g *batchGroup, namespace string) {
	if _, parked := g.parked[namespace]; parked {
		return
	}
	g.parked[namespace] = struct{}{}
	s.crowd.wait(namespace, func() {
		delete(g.parked, namespace)
		g.fast.alone.line.Resume(namespace)
		g.slow.alone.line.Resume(namespace)
		s.dispatchGroup(g, time.Now())
	})
}

// take takes as many of those that wait as one request reads, namespace by
// namespace.
func (g *batchGroup) take(l *lane) []*question {
	var questions []*question
	var taken []string
	for len(questions) < largestBatch {
		w, of, ok := l.waiting.next()
		if !ok {
			break
		}
		taken = append(taken, of)
		q := w.q
		if q.state != resting || q.opened == nil || q.opened.group != g || len(q.users) == 0 {
			continue // it has left, or is being read already
		}
		q.state = reading
		questions = append(questions, q)
	}
	for _, of := range taken {
		l.waiting.line.Leave(of)
	}
	return questions
}

// putBack undoes take.
func (g *batchGroup) putBack(l *lane, questions []*question) {
	for _, q := range questions {
		q.state = resting
		l.waiting.wait(waiter{q: q})
	}
}

// fill fills a request up that holds a regular read, with what is due within the
// next tenth of its interval. A request of rung members alone is not filled up, so
// that it is quick.
func (g *batchGroup) fill(l *lane, questions []*question, now time.Time) []*question {
	if !slices.ContainsFunc(questions, func(q *question) bool { return !q.next.After(now) }) {
		return questions
	}
	for q := range g.members {
		if len(questions) >= largestBatch {
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
func (s *Sampler) dispatchBatch(g *batchGroup, l *lane, questions []*question) {
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
	l.requests++
	leave := s.hold(g, func() { l.requests-- }, deadline/10)
	s.count(s.namespaceOf(questions...), func(ctx context.Context) {
		s.readBatch(ctx, g, l, members)
		leave()
		for _, m := range members {
			m.o.busy.Done()
		}
	})
}

// hold has a place given back when the returned function is called, or after so
// long. What takes longer goes on without a place: it keeps nobody waiting, and
// its own deadline bounds it. s.mu is held, and is when the place is given back.
func (s *Sampler) hold(g *batchGroup, give func(), long time.Duration) func() {
	leave := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		give()
		s.pending[g] = struct{}{}
		s.poke()
	})
	timer := time.AfterFunc(long, leave)
	return func() {
		timer.Stop()
		leave()
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
			l.due = append(l.due, m)
		} else {
			m.watchdog.Stop()
		}
	}
	s.pending[g] = struct{}{}
	s.poke()
}

// dispatchAlone starts reads of single members while there are places for them, in
// turns of their namespaces, of one at random, so that none is always the last.
// s.mu is held.
func (s *Sampler) dispatchAlone(g *batchGroup, l *lane) {
	rand.Shuffle(len(l.due), func(i, j int) { l.due[i], l.due[j] = l.due[j], l.due[i] }) // as they come, and no more
	for _, m := range l.due {
		l.alone.wait(waiter{m.q, m})
	}
	l.due = nil
	var late []*member
	for {
		w, of, ok := l.alone.next()
		if !ok {
			break
		}
		give := func() { l.alone.line.Leave(of) }
		switch {
		case !time.Now().Before(w.m.until):
			give()
			late = append(late, w.m)
		case s.crowd.room(of):
			s.readAlone(g, l, w.m, give)
		default: // and none of the others of that namespace
			give()
			l.alone.wait(w)
			l.alone.line.Rest(of)
			s.parkAlone(g, of)
		}
	}
	if len(late) > 0 {
		s.spawn(func(context.Context) {
			for _, m := range late {
				s.unasked(m)
			}
		})
	}
}

// readAlone reads one member by itself, and gives its place back. s.mu is held.
func (s *Sampler) readAlone(g *batchGroup, l *lane, m *member, give func()) {
	m.o.busy.Add(1)
	m.single = true
	long := m.deadline
	if l == &g.fast {
		long /= 10
	}
	leave := s.hold(g, give, long)
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
	now := time.Now()
	own, _ := failure.Beyond(r.Err)
	switch g := m.o.group; {
	case g == nil || g.undivided:
	case failure.Unheard(r.Err):
		m.o.pace.silent()
	case m.single && own && (m.o.pace.refused != nil || !g.heard.Before(m.since)):
		// The others are answered, or were when it was refused.
		r.Err = m.o.pace.refuse(r.Err, now)
	default:
		m.o.pace.answered(alone, took <= m.deadline/2, now)
		if r.Err == nil || errors.Is(r.Err, contract.ErrNoData) {
			g.heard, m.o.pace.refused, m.o.pace.rest = now, nil, 0
		}
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
