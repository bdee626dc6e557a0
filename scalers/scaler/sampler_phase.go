package scaler

import (
	"slices"
	"time"
)

// How the sampler meets the HPA controller, which asks for the metrics of each
// HPA once a period, at a time of the period that stays nearly the same.
const (
	syncPeriod = 15 * time.Second
	// recent is how old a value may be for somebody who asks at a time of their
	// own, and recentForExpected where the value was read for that question.
	recent            = time.Second
	recentForExpected = 1500 * time.Millisecond
	// margin is how long before an expected question its answer is there.
	margin = 250 * time.Millisecond
	// together is how far apart questions are that one read answers.
	together = time.Second
	// punctual is how much earlier than expected a question still is that one.
	punctual = together / 2
	// forgetPhase is when a phase ends at which nobody asked again.
	forgetPhase = 2*syncPeriod + together
	// mostPhases bounds what is kept; they cover the period.
	mostPhases = 16
)

// phase is a time of the HPA controller's period at which it asks, for one HPA
// or for several that follow each other closely.
type phase struct {
	first  time.Time // of the latest round
	asked  int       // how often in that round
	before int       // how often in the round before; 0 in the first
}

// next is when the phase comes again after t.
func (p *phase) next(t time.Time) time.Time {
	rounds := t.Sub(p.first)/syncPeriod + 1
	return p.first.Add(max(rounds, 1) * syncPeriod)
}

// phases are those of one question.
type phases []*phase

// note records that somebody asks now. It returns the phase that this belongs
// to, nil when there are too many, and whether it was expected.
func (p *phases) note(now time.Time) (at *phase, expected bool) {
	p.forget(now)
	for _, one := range *p {
		since := now.Sub(one.first)
		if since < together {
			one.asked++
			return one, one.before > 0
		}
		if off := since % syncPeriod; off < together || off >= syncPeriod-punctual {
			one.first, one.before, one.asked = now, one.asked, 1
			return one, true
		}
	}
	if len(*p) == mostPhases {
		return nil, false
	}
	at = &phase{first: now, asked: 1}
	*p = append(*p, at)
	return at, false
}

// forget drops the phases at which nobody asks any more.
func (p *phases) forget(now time.Time) {
	*p = slices.DeleteFunc(*p, func(one *phase) bool { return now.Sub(one.first) >= forgetPhase })
}

// leading is the phase at which most ask, of those that came again; nil for
// none.
func (p phases) leading() *phase {
	var best *phase
	for _, one := range p {
		if one.before > 0 && (best == nil || max(one.asked, one.before) > max(best.asked, best.before)) {
			best = one
		}
	}
	return best
}

// slack is by how much a read may miss its time: what is due within it is read
// together, and the HPA controller is no clock.
func (q *question) slack() time.Duration { return q.interval / 10 }

// window is within which time other members of a batch are read along.
func (q *question) window() time.Duration {
	if len(q.phases) > 0 {
		return min(q.slack(), together)
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

// before is the first time after now at which a read answers what is expected
// at a phase.
func (q *question) before(p *phase, now time.Time) time.Time {
	lead := min(q.lasts+margin, q.interval)
	from := now.Add(lead)
	if q.snap != nil {
		from = later(from, q.snap.at.Add(recentForExpected))
	}
	return p.next(from).Add(-lead)
}

// beforeAsked is when the question is to be read next because somebody will
// ask it then. ok is false when nobody is expected before the regular read. The
// leading phase is always met, others by reads that it leaves over.
func (q *question) beforeAsked(now time.Time) (best time.Time, ok bool) {
	leading := q.phases.leading()
	if leading == nil || q.interval == 0 {
		return time.Time{}, false
	}
	best = q.before(leading, now)
	if q.spares(nil, now) {
		for _, p := range q.phases {
			if at := q.before(p, now); p.before > 0 && at.Before(best) {
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
	switch leading := q.phases.leading(); leading {
	case nil:
		return q.paid.Sub(now) <= q.interval+q.slack()
	case p:
		return true
	default:
		return !q.paid.After(q.before(leading, now))
	}
}

// asked notes that the HPA controller asks and plans by it. It returns the
// phase and how old the answer may be. s.mu is held.
func (s *sampler) asked(q *question, now time.Time) (at *phase, wanted time.Duration) {
	at, expected := q.phases.note(now)
	if !q.reading && q.failures < 2 && q.next.After(now) {
		q.next = s.regularly(q, now)
		s.schedule(q)
	}
	if expected {
		return at, recentForExpected
	}
	return at, recent
}

// regularly is when the question is read next without a ring: before it is
// asked, and where that is not known, at its tick. s.mu is held.
func (s *sampler) regularly(q *question, now time.Time) time.Time {
	q.phases.forget(now)
	next, expected := q.beforeAsked(now)
	if !expected {
		next = s.tickOf(q, now)
	}
	if q.opened != nil {
		if timed, ok := q.opened.source.(Timed); ok {
			if at := nextSafely(timed, now); at.After(now) && at.Before(next) {
				return at
			}
		}
	}
	return next
}

// tickOf is when the question is read next without regard to who asks. A
// member of a batch may have been read a little early: then its next tick is the
// one after the tick that it was read for.
func (s *sampler) tickOf(q *question, now time.Time) time.Time {
	if q.next.After(now) && q.next.Sub(now) <= q.slack() {
		now = q.next
	}
	switch {
	case len(q.phases) == 0:
		return s.aligned(q, now)
	case q.opened != nil && q.opened.group != nil:
		return s.aligned(q, later(now, q.paid.Add(-q.interval)))
	default:
		return later(q.paid, now)
	}
}
