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
	// recent is how old a value may be for a request that was not expected, and
	// recentForExpected for one that was: the source was read for it.
	recent            = time.Second
	recentForExpected = 1500 * time.Millisecond
	// margin is how long before an expected request the read for it is over, where
	// reads are not quick.
	margin = 250 * time.Millisecond
	// Requests closer than together count as one phase. A batch reads what is
	// expected to be requested within along.
	together = time.Second
	along    = together / 2
	// punctual is how much too early a request may come and count as the expected
	// one.
	punctual = together / 2
	// mostPhases and mostAskers bound what is kept.
	mostPhases = 16
	mostAskers = 4096
	// fewMembers is up to how many members a Gathered is read for each of them
	// when that one is requested.
	fewMembers = 4
)

// phase is a time within the HPA controller's period at which it requests the
// metrics of one HPA, or of several shortly after each other.
type phase struct {
	first  time.Time     // when the first request of the latest period came
	period time.Duration // until the first of the next
	askers int           // how many made their latest request in it
	again  bool          // one of them came for at least the second time
}

// next is when the phase comes again after t.
func (p *phase) next(t time.Time) time.Time {
	rounds := max(int64(t.Sub(p.first)/p.period)+1, 1)
	return p.first.Add(time.Duration(rounds) * p.period)
}

// holds is true when a request of now belongs to the phase.
func (p *phase) holds(now time.Time) bool {
	since := now.Sub(p.first)
	off := since % p.period
	return since < together || off < together || p.period-off <= punctual
}

// over is true when no request came where the next one was expected.
func (p *phase) over(now time.Time) bool { return now.Sub(p.first) >= 2*p.period+together }

// asker is one object whose HPA's metrics are requested.
type asker struct {
	at    time.Time     // of the latest request
	gap   time.Duration // since the one before
	phase *phase
}

// phases are those of one question.
type phases struct {
	all    []*phase
	askers map[any]*asker
}

// note records a request of now. It returns the phase that it belongs to, nil
// when there are too many, and whether it was expected.
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

// passed notes a request of now and returns after how long the next is expected:
// the gap between the last ones where two in a row are nearly equal, whatever
// period the HPA controller was started with.
func (a *asker) passed(now time.Time) time.Duration {
	before := a.gap
	a.at, a.gap = now, now.Sub(a.at)
	if (a.gap - before).Abs() < together {
		return min(a.gap, before)
	}
	return scalerv1.SyncPeriod
}

// find returns the phase that a request of now belongs to, preferably the asker's
// own, and true. Where there is none it returns a new one, or nil when there are
// too many, and false.
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

// gathered is true for a member of a large batch that is read as a whole, at
// times that do not depend on requests.
func (q *question) gathered() bool {
	if q.opened == nil || q.opened.group == nil {
		return false
	}
	g := q.opened.group
	return g.gathered && len(g.members) > fewMembers
}

// slack is by how much a read may miss its time: what is due within it is read
// together, and the HPA controller's period varies.
func (q *question) slack() time.Duration { return q.interval / 10 }

// window is within which time other members of a batch are read along.
func (q *question) window() time.Duration {
	if len(q.phases.all) > 0 && !q.gathered() {
		return min(q.slack(), along)
	}
	return q.slack()
}

// pay accounts for a read that began at a time. A question is read once per
// interval on average: for a read that came early, a later one is left out.
func (q *question) pay(began time.Time) {
	q.paid = later(q.paid, began).Add(q.interval)
	q.limitPaid(began)
}

// limitPaid limits what is left out to one read, however many came early and
// however long the interval was before.
func (q *question) limitPaid(now time.Time) {
	if most := now.Add(2 * q.interval); q.paid.After(most) {
		q.paid = most
	}
}

// affords is true when a read at a time is no more than one interval early.
func (q *question) affords(at time.Time) bool {
	return q.paid.Sub(at) <= q.interval+q.slack()
}

// quick is true where the source answers so fast that a request can wait for a
// read.
func (q *question) quick() bool { return q.lasts < patience && q.failures == 0 }

// overdue is how late an expected request may be before the source is read
// without it.
func (q *question) overdue() time.Duration { return q.interval / 3 }

// expects is when the next request of a phase is expected, after now, that the
// snapshot will be too old for.
func (q *question) expects(p *phase, now time.Time) time.Time {
	if q.snap != nil {
		now = later(now, q.snap.At.Add(recentForExpected))
	}
	return p.next(now)
}

// affordsEach is true when each request of a phase can have a read of its own.
func (q *question) affordsEach(p *phase) bool { return p.period >= q.interval-q.slack() }

// before is the first time after now at which the source is to be read for the
// next request of a phase. Where reads are quick that is the time of the request,
// which has the source read when it comes.
func (q *question) before(p *phase, now time.Time) time.Time {
	if q.quick() {
		return q.expects(p, now)
	}
	lead := min(q.lasts+margin, q.interval)
	return q.expects(p, now.Add(lead)).Add(-lead)
}

// beforeAsked is when the question is to be read next for an expected request. ok
// is false when none is expected before the regular read. Reads are for the
// leading phase first, and for others where that leaves some over.
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
	// The regular read is left out where it would take the place of this one.
	return best, !best.After(q.paid.Add(max(q.slack(), q.lasts)))
}

// spares is true when the question can be read for a request of phase p: a later
// read is left out for it, but none that is for the leading phase.
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

// asked notes a request of the HPA controller, for who, and plans the next read.
// It returns the phase and how old the answer may be. s.mu is held.
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

// regularly is when the question is read next unless it rings: before the next
// request, or at its tick where none is expected. Where reads are quick the
// request itself has it read: then awaited is when the request is expected, and
// next is when the question is read if none comes. s.mu is held.
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

// tickOf is when the question is read next without regard to requests. A
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
