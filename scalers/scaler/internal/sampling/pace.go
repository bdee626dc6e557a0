package sampling

import (
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// pauses before a member's batch is tried again, or one that is refused, doubled
// with each failure.
const (
	firstPause   = time.Minute
	longestPause = 8 * time.Minute
)

// pace is how a source answers, as far as that decides how it is read next. It
// is guarded by Sampler.mu.
type pace struct {
	// slow is true when it did not answer the last time, or took long: more than
	// half of its time in a batch, more than slowAfter without. It is read apart
	// from the others then, and keeps none of them waiting.
	slow bool
	// alone is true when it is to be read by itself, because its batch did not
	// answer it.
	alone bool
	// together is when its batch is tried again; zero while nothing is known
	// about how it answers by itself.
	together time.Time
	pause    time.Duration
	// refused is what it failed with when the answer to it alone went beyond a
	// bound, and others had theirs. It is not asked for before until, for rest,
	// and then by itself until it is answered.
	refused error
	until   time.Time
	rest    time.Duration
}

// refuse notes that the answer to it alone went beyond a bound. Such an answer
// takes long, and ends a connection that may be everybody's.
func (p *pace) refuse(err error, now time.Time) error {
	p.rest = min(max(2*p.rest, firstPause), longestPause)
	p.until = now.Add(p.rest)
	p.alone, p.together = true, p.until
	code, _ := failure.Explain(err)
	p.refused = words.Errorf(code, "%w; it is asked again after %v", err, p.rest)
	return p.refused
}

// refusal is what a source fails with that is not asked for now, nil for another.
func (p *pace) refusal(now time.Time) error {
	if now.Before(p.until) {
		return p.refused
	}
	return nil
}

// byItself decides how the source is read now. One that answers quickly by
// itself is tried with its batch again now and then.
func (p *pace) byItself(now time.Time) bool {
	if p.refused != nil {
		return true
	}
	if p.alone && !p.slow && !now.Before(p.together) {
		p.alone, p.together = false, time.Time{}
	}
	return p.alone
}

// answered notes an answer.
func (p *pace) answered(alone, quick bool, now time.Time) {
	p.slow = !quick
	switch {
	case !alone:
		p.alone, p.together, p.pause = false, time.Time{}, 0
	case p.together.IsZero(): // and in its batch it did not
		p.alone = true
		p.pause = min(max(2*p.pause, firstPause), longestPause)
		p.together = now.Add(p.pause)
	}
}

// silent notes that there was no answer. A source that is slow already is asked
// the other way the next time, until one of them is answered.
func (p *pace) silent() {
	if p.slow {
		p.alone, p.together = !p.alone, time.Time{}
	}
	p.slow = true
}
