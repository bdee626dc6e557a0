package sampling

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
)

// mostTrips is how many requests of one round may have an answer that goes beyond
// a bound. One member that makes it so is found with ten, each further one beside
// it with two.
const mostTrips = 32

// round is one reading of a batch, in as many requests as it takes.
//
// Fast members that have not answered at half of the time are asked each by itself
// in the other half; slow ones have all of it. When a request fails, its members
// are tried once more as two halves, side by side, so that one poisoned member
// cannot blind the rest. Of a request whose answer goes beyond a bound they are
// asked by ever smaller parts, one after the other, because such an answer ends the
// connection: so it is found whose answer it was. A request for which there is no
// budget is made again for some of the namespaces that it was for, each by its own,
// and for one of them alone in all of the time.
type round struct {
	s       *Sampler
	group   *batchGroup
	lane    *lane
	divided bool            // half of the time is for reads of single members
	all     context.Context //nolint:containedctx // of all of the time; lives as long as the round

	mu    sync.Mutex
	heard bool        // somebody was answered
	trips int         // requests whose answer went beyond a bound
	parts [][]*member // of those, which are still to be asked
}

// readBatch reads the members at once.
func (s *Sampler) readBatch(ctx context.Context, g *batchGroup, l *lane, members []*member) {
	r := &round{s: s, group: g, lane: l, divided: l == &g.fast && !g.undivided}
	limit := time.Until(members[0].until)
	all, end := context.WithTimeout(ctx, limit)
	defer end()
	r.all = all
	if r.divided {
		limit /= 2
	}
	ctx, cancel := context.WithTimeout(all, limit)
	defer cancel()
	r.read(ctx, members, true)
	for part := r.next(); len(part) > 0; part = r.next() {
		r.read(ctx, part, false)
	}
}

// read asks for members in one request, and again for those that it leaves without
// an answer, where that may help.
func (r *round) read(ctx context.Context, members []*member, again bool) {
	left, err := r.ask(ctx, members)
	if ctx.Err() != nil {
		r.late(ctx, left)
		return
	}
	var tripped, poor, failed []*member
	for _, m := range left {
		_, beyond := failure.Beyond(m.reason)
		switch {
		case !r.apart(members, m.reason):
			failed = append(failed, m)
		case beyond != nil:
			tripped = append(tripped, m)
		default:
			poor = append(poor, m)
		}
	}
	r.trip(tripped)
	var beside sync.WaitGroup
	defer beside.Wait()
	shares := parts(poor)
	if len(poor) > 0 && !ofSeveral(poor) {
		shares = [][]*member{poor}
	}
	for _, part := range shares {
		within := ctx
		if !ofSeveral(part) {
			within = r.all //nolint:contextcheck // what ctx is of
		}
		beside.Go(func() { r.read(within, part, again) })
	}
	if err == nil || !again || len(failed) < 2 || r.group.undivided || failure.Refused(err) || failure.OutOfBudget(err) {
		r.give(failed)
		return
	}
	for _, part := range parts(failed) {
		beside.Go(func() { r.read(ctx, part, false) })
	}
}

// ask asks for members in one request and returns those that it left without an
// answer, each with what is known about that.
func (r *round) ask(ctx context.Context, members []*member) (left []*member, err error) {
	if ctx.Err() != nil {
		for _, m := range members {
			m.reason = cmp.Or(m.reason, errStuck)
		}
		return members, nil
	}
	start := time.Now()
	each := make([]string, len(members))
	for i, m := range members {
		each[i], m.single = m.namespace, len(members) == 1
	}
	ctx = budget.OfMembers(r.s.Metrics.Counting(ctx, members[0].q.Type), each)
	answers := newAnswers(ctx, len(members), func(i int, result contract.Result) {
		if result.Err == nil || errors.Is(result.Err, contract.ErrNoData) {
			r.hears()
		}
		r.s.answered(members[i], false, time.Since(start), result)
	})
	answers.again = func(err error) bool { return r.apart(members, err) }
	err = askBatch(ctx, r.group.batch, members, answers.give)
	for _, i := range answers.close() {
		m := members[i]
		m.reason = failure.InTime(ctx, answers.missing(i, err))
		left = append(left, m)
	}
	return left, err
}

// apart says of an error that it need not be that of each member of a request.
func (r *round) apart(members []*member, err error) bool {
	if err == nil || r.group.undivided || len(members) < 2 {
		return false
	}
	_, beyond := failure.Beyond(err)
	return beyond != nil || failure.OutOfBudget(err) && ofSeveral(members)
}

// ofSeveral is true for members of more than one namespace.
func ofSeveral(members []*member) bool {
	return slices.ContainsFunc(members, func(m *member) bool { return m.namespace != members[0].namespace })
}

func (r *round) hears() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = true
}

// trip has members asked by parts that were in a request whose answer went beyond a
// bound.
func (r *round) trip(members []*member) {
	if len(members) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trips++
	r.parts = append(r.parts, parts(members)...)
}

// next is the part that is asked next. Once there were too many in vain, those that
// are left are read each by itself; where nobody was answered it is not for them
// that it was in vain.
func (r *round) next() []*member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.parts) > 0 && r.trips < mostTrips {
		part := r.parts[0]
		r.parts = r.parts[1:]
		return part
	}
	left := slices.Concat(r.parts...)
	r.parts = nil
	switch {
	case len(left) == 0:
	case r.heard:
		r.s.askAlone(r.group, r.lane, left)
	default:
		r.give(left)
	}
	return nil
}

// late is for members that were not answered in time.
func (r *round) late(ctx context.Context, left []*member) {
	switch {
	case len(left) == 0:
	case r.divided && errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.s.askAlone(r.group, r.lane, left)
	default:
		r.give(left)
	}
}

// give ends the reads of members with the reason why they have no answer.
func (r *round) give(members []*member) {
	for _, m := range members {
		r.s.answered(m, false, time.Since(m.since), contract.Result{Err: m.reason})
	}
}

// parts are two halves of members, in any order. What is of one namespace stays
// together as far as there are several: whoever has many in a batch is soon apart
// from the others.
func parts(members []*member) [][]*member {
	if len(members) < 2 {
		return slices.Collect(slices.Chunk(members, 1))
	}
	slices.SortStableFunc(members, func(a, b *member) int { return strings.Compare(a.namespace, b.namespace) })
	half := len(members) / 2
	for off := range half {
		if below := half - off; members[below-1].namespace != members[below].namespace {
			half = below
			break
		}
		if above := half + off; members[above-1].namespace != members[above].namespace {
			half = above
			break
		}
	}
	both := [][]*member{members[:half], members[half:]}
	rand.Shuffle(2, func(i, j int) { both[i], both[j] = both[j], both[i] })
	return both
}
