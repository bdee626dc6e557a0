package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// firstRest is for how long an account is left alone that is throttled without
	// being told for how long; it doubles with each time until a request succeeds.
	firstRest = 10 * time.Second
	// longestRest bounds that, and longestThrottled what a service may ask for.
	longestRest      = time.Minute
	longestThrottled = 10 * time.Minute
	// mostWaiting bounds who waits for one account.
	mostWaiting = 1000

	// leastLearned is what an account is asked a minute at least, however often it
	// is throttled: few enough beside a rest, and still a turn within two seconds.
	leastLearned = 30
	// leastRise is what a learned budget gains with a minute, if a tenth of it is less.
	leastRise = 5
	// learnedFor is how long a learned budget lasts without a throttle.
	learnedFor = 30 * time.Minute
)

// ledger is what is known of an account.
type ledger struct {
	mu sync.Mutex

	// limit is the budget that spent is about: that of the flag, or what was learned
	// where that is less.
	limit int64
	// learned is how many requests a minute the account is asked, because it was
	// throttled with more; 0 for any number. It was halved last at halved.
	learned int64
	halved  time.Time
	// answered counts what was not throttled since the minute began, before that of
	// the minute before it.
	minute           time.Time
	answered, before int64
	// spent is when nothing will be left of what was taken: as long as it is not
	// further away than a whole burst, there is some to be had.
	spent time.Time

	lanes   []*turns // of namespaces with somebody who waits; the first has its turn
	waiting int
	next    *time.Timer // for the next turn; nil while nobody waits

	throttled error     // why it rests; nil for an account that does not
	until     time.Time // how long
	rest      time.Duration
}

// turns are those of one namespace who wait, in order.
type turns struct {
	namespace string
	waiting   []*turn
}

// turn is one who waits. granted has the outcome once.
type turn struct{ granted chan error }

func (l *ledger) take(ctx context.Context) error {
	now := time.Now()
	latest := now.Add(longestWait / 2)
	if deadline, bounded := ctx.Deadline(); bounded {
		latest = now.Add(deadline.Sub(now) / 2)
	}
	l.mu.Lock()
	l.follow(now)
	if err := l.resting(now); err != nil {
		l.mu.Unlock()
		return err
	}
	if l.limit == 0 || l.waiting == 0 && !l.free(now).After(now) {
		l.spend(now)
		l.mu.Unlock()
		return nil
	}
	namespace := l.fewest(budget.Namespaces(ctx))
	if at := l.turnOf(namespace, now); at.After(latest) || !l.room(namespace, now) {
		defer l.mu.Unlock()
		return l.usedUp(at, now)
	}
	t := &turn{granted: make(chan error, 1)}
	l.enqueue(namespace, t)
	l.mu.Unlock()

	timer := time.NewTimer(latest.Sub(now))
	defer timer.Stop()
	select {
	case err := <-t.granted:
		return err
	case <-timer.C:
	case <-ctx.Done():
	}
	return l.leave(ctx, namespace, t)
}

// fewest is the one of several namespaces of which the fewest wait. l.mu is held.
func (l *ledger) fewest(of []string) string {
	if len(of) == 1 {
		return of[0]
	}
	waiting := make(map[string]int, len(l.lanes))
	for _, lane := range l.lanes {
		waiting[lane.namespace] = len(lane.waiting)
	}
	return slices.MinFunc(of, func(a, b string) int { return waiting[a] - waiting[b] })
}

// follow takes over another limit. l.mu is held.
func (l *ledger) follow(now time.Time) {
	l.learn(now)
	limit := requestsPerMinute.Load()
	if l.learned > 0 && (limit == 0 || l.learned < limit) {
		limit = l.learned
	}
	if limit == l.limit {
		return
	}
	rises := l.limit > 0 && l.limit < limit && limit == l.learned
	l.limit = limit
	if !rises { // what is learned rises without another burst
		l.spent = now
	}
	l.grant(now)
}

// learn has the learned budget rise with each minute in which it was used, and ends
// it when the account was not throttled for long. l.mu is held.
func (l *ledger) learn(now time.Time) {
	if l.learned > 0 && now.Sub(l.halved) >= learnedFor {
		l.learned = 0
	}
	passed := now.Sub(l.minute)
	if passed < time.Minute {
		return
	}
	if l.learned > 0 && 2*l.answered >= l.learned && l.resting(now) == nil {
		l.learned += max(l.learned/10, leastRise)
	}
	l.before = l.answered
	if passed >= 2*time.Minute {
		l.before = 0
	}
	l.minute, l.answered = now, 0
}

// halve has the account asked half as often as it was when it was throttled. Those
// who were under way together count once. l.mu is held.
func (l *ledger) halve(now time.Time) {
	l.follow(now)
	switch {
	case l.learned == 0:
		l.learned = l.answered + int64(float64(l.before)*max(1-float64(now.Sub(l.minute))/float64(time.Minute), 0))
		if flag := requestsPerMinute.Load(); flag > 0 {
			l.learned = min(l.learned, flag)
		}
	case now.Sub(l.halved) < firstRest:
		return
	}
	l.learned, l.halved = max(l.learned/2, leastLearned), now
	l.follow(now)
}

// learning reports whether the limit is what was learned. l.mu is held.
func (l *ledger) learning() bool { return l.learned > 0 && l.limit == l.learned }

// burst is how many requests may come at once, a tenth of the budget, or what a
// second has of it where that is all that is known to be well, and space how long it
// takes until there is another: such that no minute has more than the budget. l.mu
// is held.
func (l *ledger) burst() int64 {
	if l.learning() {
		return max(l.limit/60, 1)
	}
	return max(l.limit/10, 1)
}

func (l *ledger) space() time.Duration {
	n := time.Duration(l.limit - l.burst() + 1)
	return (time.Minute + n - 1) / n
}

// free is when the next request may be made. l.mu is held.
func (l *ledger) free(now time.Time) time.Time {
	if l.limit == 0 {
		return now
	}
	return l.spent.Add(-time.Duration(l.burst()-1) * l.space())
}

// spend takes one request. l.mu is held.
func (l *ledger) spend(now time.Time) {
	if l.limit == 0 {
		return
	}
	if l.spent.Before(now) {
		l.spent = now
	}
	l.spent = l.spent.Add(l.space())
}

// turnOf is when one more of a namespace would have its turn if nobody else came.
// l.mu is held.
func (l *ledger) turnOf(namespace string, now time.Time) time.Time {
	own := 0
	for _, lane := range l.lanes {
		if lane.namespace == namespace {
			own = len(lane.waiting)
		}
	}
	before := own
	for _, lane := range l.lanes {
		if lane.namespace != namespace {
			before += min(len(lane.waiting), own+1)
		}
	}
	first := l.free(now)
	if first.Before(now) {
		first = now
	}
	return first.Add(time.Duration(before) * l.space())
}

// room reports whether there is room for one more of a namespace that waits. When
// all is taken, whoever came last of the namespace with the most gives way, unless
// that is the one. l.mu is held.
func (l *ledger) room(namespace string, now time.Time) bool {
	if l.waiting < mostWaiting {
		return true
	}
	own, most := 0, l.lanes[0]
	for _, lane := range l.lanes {
		if lane.namespace == namespace {
			own = len(lane.waiting)
		}
		if len(lane.waiting) > len(most.waiting) {
			most = lane
		}
	}
	last := len(most.waiting) - 1
	if own >= last { // most is not shorter than own, and stays a lane
		return false
	}
	most.waiting[last].granted <- l.usedUp(l.turnOf(most.namespace, now), now)
	most.waiting[last] = nil
	most.waiting = most.waiting[:last]
	l.waiting--
	return true
}

// enqueue has a turn wait. l.mu is held.
func (l *ledger) enqueue(namespace string, t *turn) {
	l.waiting++
	l.arm()
	for _, lane := range l.lanes {
		if lane.namespace == namespace {
			lane.waiting = append(lane.waiting, t)
			return
		}
	}
	l.lanes = append(l.lanes, &turns{namespace, []*turn{t}})
}

// arm has the next turn granted when it is time. l.mu is held.
func (l *ledger) arm() {
	if l.next == nil {
		l.next = time.AfterFunc(time.Until(l.free(time.Now())), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.next = nil
			l.grant(time.Now())
		})
	}
}

// grant gives turns to whom there is a request for. l.mu is held.
func (l *ledger) grant(now time.Time) {
	for l.waiting > 0 && !l.free(now).After(now) {
		lane := l.lanes[0]
		lane.waiting[0].granted <- nil
		lane.waiting = lane.waiting[1:]
		l.lanes = l.lanes[1:]
		if len(lane.waiting) > 0 {
			l.lanes = append(l.lanes, lane)
		}
		l.waiting--
		l.spend(now)
	}
	if l.waiting > 0 {
		l.arm()
	} else if l.next != nil {
		l.next.Stop()
		l.next = nil
	}
}

// leave is for one who waited in vain, and may still have been given the turn at
// the last moment.
func (l *ledger) leave(ctx context.Context, namespace string, t *turn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case err := <-t.granted:
		return err
	default:
	}
	for at, lane := range l.lanes {
		if lane.namespace != namespace {
			continue
		}
		for i, waiting := range lane.waiting {
			if waiting == t {
				lane.waiting = append(lane.waiting[:i:i], lane.waiting[i+1:]...)
				l.waiting--
				break
			}
		}
		if len(lane.waiting) == 0 {
			l.lanes = append(l.lanes[:at:at], l.lanes[at+1:]...)
		}
		break
	}
	now := time.Now()
	l.grant(now) // stops the timer behind the last one
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return l.usedUp(l.turnOf(namespace, now), now)
}

// usedUp is the error about a turn that comes too late. It names the time in
// steps, so that the same failure has the same text. l.mu is held.
func (l *ledger) usedUp(at, now time.Time) error {
	const step = 10 * time.Second
	about := max((at.Sub(now) + step - 1).Truncate(step), step)
	if l.learning() {
		return &AccountError{usedUp: true, Until: at, err: words.Errorf(codes.ResourceExhausted,
			"the service has throttled the account, which is asked less often for that, in turns of the namespaces whose triggers share it: a turn is free within %v; a longer pollingInterval needs fewer", about)}
	}
	return &AccountError{usedUp: true, Until: at, err: words.Errorf(codes.ResourceExhausted,
		"the request budget of the account, %d a minute (--requests-per-minute), is used up by the triggers that share it: a turn is free within %v; a longer pollingInterval needs fewer",
		l.limit, about)}
}

// resting is the error of an account that is throttled, nil for another. l.mu is
// held.
func (l *ledger) resting(now time.Time) error {
	if l.throttled == nil || !now.Before(l.until) {
		return nil
	}
	return l.throttled
}

// registry has the ledgers of the process. An account that is reached in two ways,
// or that rests while its last source is opened again, has one all the same.
type registry struct {
	mu  sync.Mutex
	all map[string]*registered
}

type registered struct {
	ledger
	users int
}

var ledgers = &registry{all: map[string]*registered{}}

// mostResting is how many accounts are remembered that nobody uses.
const mostResting = 1000

func (r *registry) take(id string) *ledger {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.all[id]
	if one == nil {
		one = &registered{}
		r.all[id] = one
	}
	one.users++
	return &one.ledger
}

// leave forgets an account with its last user, unless it rests.
func (r *registry) leave(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, now := r.all[id], time.Now()
	if one.users--; one.users > 0 {
		return
	}
	if !one.remembers(now) {
		delete(r.all, id)
		return
	}
	resting := 0
	for id, one := range r.all {
		if one.users > 0 {
			continue
		}
		if one.remembers(now) && resting < mostResting {
			resting++
		} else {
			delete(r.all, id)
		}
	}
}

// rests is why the account is not asked now, nil for one that may be.
func (l *ledger) rests() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resting(time.Now())
}

// remembers is true while there is something to remember of an account.
func (l *ledger) remembers(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resting(now) != nil || l.limit > 0 && l.spent.After(now) || l.learned > 0 && now.Sub(l.halved) < learnedFor
}
