package scaledjob

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// namespaceRate is how many Jobs of one namespace are created per second,
	// createRate those of all: well within what an API server takes, and what
	// comes after a mistake of a user's can still be stopped.
	namespaceRate, createRate = 100, 200
	// mostSlices is how many objects of one namespace create Jobs at once. Each
	// holds a worker for a while, of those that all namespaces share.
	mostSlices = 4
	// turnGap is how much later an object comes back for each other one of its
	// namespace that was sent away lately: together they cost as much as a few.
	turnGap = 5 * time.Millisecond
)

// turns share out the creation of Jobs, so that one namespace with many large
// ScaledJobs holds up no other.
type turns struct {
	mu  sync.Mutex
	all *rate.Limiter
	of  map[string]*part
}

// part is what one namespace has of it.
type part struct {
	limit  *rate.Limiter
	slices int // under way
	away   int // sent away since
	since  time.Time
}

// begin lets an object of a namespace create Jobs, each after wait has returned
// without an error, until it calls end. Otherwise wait is nil, and the object is
// to come again after a while.
func (t *turns) begin(namespace string, now time.Time) (wait func(context.Context) error, end func(), again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.part(namespace)
	if p.slices >= mostSlices {
		if now.Sub(p.since) >= time.Second {
			p.away, p.since = 0, now
		}
		p.away++
		return nil, nil, createSlice + time.Duration(p.away)*turnGap
	}
	p.slices++
	wait = func(ctx context.Context) error {
		if err := p.limit.Wait(ctx); err != nil {
			return err
		}
		return t.all.Wait(ctx)
	}
	return wait, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		p.slices--
	}, 0
}

// part is that of a namespace. Those that may do whatever a new one may are
// forgotten; t.mu is held.
func (t *turns) part(namespace string) *part {
	if t.of == nil {
		t.all, t.of = rate.NewLimiter(createRate, createRate), map[string]*part{}
	}
	if p := t.of[namespace]; p != nil {
		return p
	}
	for name, p := range t.of {
		if p.slices == 0 && p.limit.Tokens() >= namespaceRate {
			delete(t.of, name)
		}
	}
	p := &part{limit: rate.NewLimiter(namespaceRate, namespaceRate)}
	t.of[namespace] = p
	return p
}
