package sampling

import (
	"slices"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// How the sampler meets the HPA controller, which asks for the metrics of each
// HPA once in a scalerv1.SyncPeriod, at a time of it that stays nearly the same.
const (
	// recent is how old a value may be for somebody who asks at a time of their
	// own, and recentForExpected where the value was read for that question.
	recent            = time.Second
	recentForExpected = 1500 * time.Millisecond
	// margin is how long before an expected question its answer is there, where
	// reads are not quick.
	margin = 250 * time.Millisecond
	// together is how far apart questions are that count as one phase, and along
	// is within which time a batch reads what is to be asked next.
	together = time.Second
	along    = together / 2
	// punctual is how much earlier than expected a question still is that one.
	punctual = together / 2
	// mostPhases and mostAskers bound what is kept.
	mostPhases = 16
	mostAskers = 4096
	// fewMembers are so few that a Gathered is read for each when it is asked.
	fewMembers = 4
)

// phase is a time of the HPA controller's period at which it asks, for one HPA
// or for several that follow each other closely.
type phase struct {
	first  time.Time     // question of the latest round
	period time.Duration // until the next
	askers int           // whose latest question it was
	again  bool          // whether somebody came again
}

// next is when the phase comes again after t.
func (p *phase) next(t time.Time) time.Time {
	rounds := max(int64(t.Sub(p.first)/p.period)+1, 1)
	return p.first.Add(time.Duration(rounds) * p.period)
}

// holds is true when a question of now belongs to the phase.
func (p *phase) holds(now time.Time) bool {
	since := now.Sub(p.first)
	off := since % p.period
	return since < together || off < together || p.period-off <= punctual
}

// over is true when nobody has come again.
func (p *phase) over(now time.Time) bool { return now.Sub(p.first) >= 2*p.period+together }

// asker is an HPA that asks, as the object that it is of.
type asker struct {
	at    time.Time     // of the latest question
	gap   time.Duration // since the one before
	phase *phase
}

// phases are those of one question.
type phases struct {
	all    []*phase
	askers map[any]*asker
}

// note records that somebody asks now. It returns the phase that this belongs
// to, nil when there are too many, and whether it was expected.
func (p *phases) note(who any, now time.Time) (at *phase, expected bool) {
	p.forget(now)
	a := p.askers[who]
	switch {
	case a == nil && len(p.askers) == mostAskers:
		return nil, false
	case a == nil:
		a = &asker{}
		if p.askers == nil {
			p.askers = map[any]*asker{}
		}
		p.askers[who] = a
	case now.Sub(a.at) < together:
		return a.phase, a.phase != nil // another metric of the same trigger
	}
	again, period := a.phase != nil, a.passed(now)
	at, expected = p.find(a.phase, now)
	p.move(a, at)
	if at != nil && (!expected || now.Sub(at.first) >= together) {
		at.first, at.period = now, period
		at.again = at.again || again
	}
	return at, expected
}

// passed notes a question of now and returns when the next is expected: where
// two gaps are alike that is the period, whatever the HPA controller is told.
func (a *asker) passed(now time.Time) time.Duration {
	before := a.gap
	a.at, a.gap = now, now.Sub(a.at)
	if (a.gap - before).Abs() < together {
		return min(a.gap, before)
	}
	return scalerv1.SyncPeriod
}

// find returns the phase that a question of now belongs to, that of the asker
// first, and whether there was one; otherwise a new one, if there is room.
func (p *phases) find(own *phase, now time.Time) (at *phase, found bool) {
	if own != nil && own.holds(now) {
		return own, true
	}
	for _, one := range p.all {
		if one.holds(now) {
			return one, true
		}
	}
	if len(p.all) == mostPhases {
		return nil, false
	}
	at = &phase{first: now, period: scalerv1.SyncPeriod}
	p.all = append(p.all, at)
	return at, false
}

// move has an asker come at another phase from now on.
func (p *phases) move(a *asker, to *phase) {
	from := a.phase
	if from == to {
		return
	}
	a.phase = to
	if to != nil {
		to.askers++
	}
	if from != nil {
		from.askers--
		p.all = slices.DeleteFunc(p.all, func(one *phase) bool { return one == from && from.askers == 0 })
	}
}

// forget drops the phases at which nobody asks any more.
func (p *phases) forget(now time.Time) {
	if !slices.ContainsFunc(p.all, func(one *phase) bool { return one.over(now) }) {
		return
	}
	p.all = slices.DeleteFunc(p.all, func(one *phase) bool { return one.over(now) })
	for who, a := range p.askers {
		if a.phase == nil || a.phase.over(now) {
			delete(p.askers, who)
		}
	}
}

// leading is the phase at which most ask, of those that came again; nil for
// none.
func (p *phases) leading() *phase {
	var best *phase
	for _, one := range p.all {
		if one.again && (best == nil || one.askers > best.askers) {
			best = one
		}
	}
	return best
}

// gathered is true for a member of a batch of many that is read as a whole, no
// matter who asks when.
func (q *question) gathered() bool {
	if q.opened == nil || q.opened.group == nil {
		return false
	}
	g := q.opened.group
	return g.gathered && len(g.members) > fewMembers
}

// slack is by how much a read may miss its time: what is due within it is read
// together, and the HPA controller is no clock.
func (q *question) slack() time.Duration { return q.interval / 10 }

// window is within which time other members of a batch are read along.
func (q *question) window() time.Duration {
	if len(q.phases.all) > 0 && !q.gathered() {
		return min(q.slack(), along)
	}
	return q.slack()
}

// pay accounts for a read that began at a time. A question is read once per
// interval; a read before its time is paid for by a later one that is left out.
func (q *question) pay(began time.Time) {
	q.paid = later(q.paid, began).Add(q.interval)
	q.limitPaid(began)
}

// limitPaid keeps reads that had to be made, or a longer interval of before,
// from leaving out more than one.
func (q *question) limitPaid(now time.Time) {
	if most := now.Add(2 * q.interval); q.paid.After(most) {
		q.paid = most
	}
}

// affords is true when a read at a time is no more than one interval early.
func (q *question) affords(at time.Time) bool {
	return q.paid.Sub(at) <= q.interval+q.slack()
}

// quick is true where the source answers so fast that whoever asks can wait for
// a read of that moment.
func (q *question) quick() bool { return q.lasts < patience && q.failures == 0 }

// overdue is how long a question that is expected is waited for, before the
// source is read without it.
func (q *question) overdue() time.Duration { return q.interval / 3 }

// expects is when somebody is expected next, after now, at a phase, whom the
// snapshot does not answer.
func (q *question) expects(p *phase, now time.Time) time.Time {
	if q.snap != nil {
		now = later(now, q.snap.At.Add(recentForExpected))
	}
	return p.next(now)
}

// affordsEach is true when each question of a phase can have a read of its own.
func (q *question) affordsEach(p *phase) bool { return p.period >= q.interval-q.slack() }

// before is the first time after now at which a read answers what is expected
// at a phase. Where reads are quick that is the question itself, which has the
// source read when it comes.
func (q *question) before(p *phase, now time.Time) time.Time {
	if q.quick() {
		return q.expects(p, now)
	}
	lead := min(q.lasts+margin, q.interval)
	return q.expects(p, now.Add(lead)).Add(-lead)
}

// beforeAsked is when the question is to be read next because somebody will
// ask it then. ok is false when nobody is expected before the regular read. The
// leading phase is met, others by reads that it leaves over.
func (q *question) beforeAsked(now time.Time) (best time.Time, ok bool) {
	leading := q.phases.leading()
	if leading == nil || q.interval == 0 {
		return time.Time{}, false
	}
	best = q.before(leading, now)
	for !q.affordsEach(leading) && !q.affords(best) {
		best = best.Add(leading.period)
	}
	if !q.paid.After(best) {
		for _, p := range q.phases.all {
			if at := q.before(p, now); p.again && at.Before(best) {
				best = at
			}
		}
	}
	// A regular read that would be in the way of it is left out.
	return best, !best.After(q.paid.Add(max(q.slack(), q.lasts)))
}

// spares is true when the question can be read for somebody who asks at phase
// p in place of a later read, and not of one for the leading phase.
func (q *question) spares(p *phase, now time.Time) bool {
	leading := q.phases.leading()
	switch {
	case leading == nil:
		return q.affords(now)
	case leading != p:
		return !q.paid.After(q.before(leading, now))
	default:
		return q.affordsEach(p) || q.affords(now)
	}
}

// asked notes that the HPA controller asks, for who, and plans by it. It returns
// the phase and how old the answer may be. s.mu is held.
func (s *Sampler) asked(q *question, who any, now time.Time) (at *phase, wanted time.Duration) {
	at, expected := q.phases.note(who, now)
	if !q.state.busy() && q.failures < 2 && q.next.After(now) {
		q.next, q.awaited = s.regularly(q, now)
		s.schedule(q)
	}
	if expected {
		return at, recentForExpected
	}
	return at, recent
}

// regularly is when the question is read next without a ring: before it is
// asked, and where that is not known, at its tick. Where reads are quick it is
// not read before it is asked: then awaited is when that is expected, and next
// when it is read without. s.mu is held.
func (s *Sampler) regularly(q *question, now time.Time) (next, awaited time.Time) {
	q.phases.forget(now)
	next, expected := q.beforeAsked(now)
	switch {
	case !expected || q.gathered():
		next = s.tickOf(q, now)
	case q.quick():
		next, awaited = later(next.Add(q.overdue()), q.paid), next
	}
	if q.opened != nil {
		if timed, ok := q.opened.source.(contract.Timed); ok {
			if at := nextSafely(timed, now); at.After(now) && at.Before(next) {
				return at, awaited
			}
		}
	}
	return next, awaited
}

// tickOf is when the question is read next without regard to who asks. A
// member of a batch may have been read a little early: then its next tick is the
// one after the tick that it was read for.
func (s *Sampler) tickOf(q *question, now time.Time) time.Time {
	if q.next.After(now) && q.next.Sub(now) <= q.slack() {
		now = q.next
	}
	switch {
	case len(q.phases.all) == 0, q.gathered():
		return s.aligned(q, now)
	case q.opened != nil && q.opened.group != nil:
		return s.aligned(q, later(now, q.paid.Add(-q.interval)))
	default:
		return later(q.paid, now)
	}
}
