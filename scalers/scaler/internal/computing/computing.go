// Package computing has all that a family computes for triggers take turns at the
// processors: looking for values in texts, reading texts, holding patterns against
// names. How much there is of it tenants and sources decide, and Go itself would
// share the processors among all that computes, the greedy before the few.
//
// One processor is always left to what answers, sends and receives. Of the others
// a namespace has half, and of those who wait it is the turn of the one with the
// fewest at work. A turn is short: who has more to do waits for the next one. One
// that does not end takes no place of others, and the next one of its own.
package computing

import (
	"context"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// slice is how long a turn lasts.
const slice = 10 * time.Millisecond

// Places is how many compute at once, and how many of them for one namespace.
func Places() (most, ofOne int) {
	most = max(runtime.GOMAXPROCS(0)-1, 1)
	return most, (most + 1) / 2
}

// process is the gate of the process.
var process = sync.OnceValue(func() *gate { return newGate(Places()) })

// errLate is the failure of a read whose time passes while it computes, or waits
// to.
var errLate = words.Errorf(codes.DeadlineExceeded, "there is no time left to look for the value")

// Turn is what one goroutine computes, one thing after another. The zero Turn is
// one that has not begun.
type Turn struct {
	place  place
	atWork bool
	until  time.Time
}

// Work is called before each piece of work, of a millisecond or so. It waits for
// the next turn when there is none or it is over, and fails, at rest, when the
// context ends.
func (t *Turn) Work(ctx context.Context) error {
	if t.atWork && ctx.Err() == nil && time.Now().Before(t.until) {
		return nil
	}
	t.Rest()
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if !process().enter(ctx, &t.place, budget.Namespaces(ctx)) {
		return ended(ctx)
	}
	t.atWork, t.until = true, time.Now().Add(slice)
	return nil
}

// Rest gives the turn to others: at the end, and before what waits for anything
// else.
func (t *Turn) Rest() {
	if t.atWork {
		process().leave(&t.place)
		t.atWork = false
	}
}

// ended is why somebody computes no more.
func ended(ctx context.Context) error {
	if err := budget.MadeWay(ctx); err != nil {
		return err
	}
	return errLate
}

type turnKey struct{}

// With has what is computed with the context be one Turn. It is for one goroutine.
func With(ctx context.Context) (context.Context, *Turn) {
	t := &Turn{}
	return context.WithValue(ctx, turnKey{}, t), t
}

// Of is the turn of With, or one of its own, and what is called at the end of it.
func Of(ctx context.Context) (t *Turn, end func()) {
	if t, ok := ctx.Value(turnKey{}).(*Turn); ok {
		return t, func() {}
	}
	t = &Turn{}
	return t, t.Rest
}
