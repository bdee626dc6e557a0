package pool

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

const (
	// ReadsPerEndpoint is how many reads one connection carries at once. Others
	// of the same connection wait; those of other connections do not notice.
	ReadsPerEndpoint = 32
	// slowPerEndpoint is how many of them may be slow.
	slowPerEndpoint = 24
	// slowAfter is how long a read takes until it is slow.
	slowAfter = 500 * time.Millisecond
)

// Narrow is a shared connection that carries fewer reads at once than others.
type Narrow interface {
	// Width is how many reads it carries at once, and how many of them may be
	// slow; both are at least 1, and the first is the greater.
	Width() (reads, slow int)
}

// Places are those for the reads that go to one endpoint at once. Slow ones
// never hold all of them, so that reads which are answered quickly find room
// however many others hang. Of those who wait it is the turn of the namespace
// that holds the fewest, so that nobody has others wait by asking more.
type Places struct {
	reads, slow *inbound.Gate // a slow read has a place of each
	answers     atomic.Int64  // reads that were answered so far
}

// NewPlaces returns those of a connection.
func NewPlaces(connection any) *Places {
	reads, slow := ReadsPerEndpoint, slowPerEndpoint
	if n, ok := connection.(Narrow); ok {
		reads, slow = n.Width()
	}
	return &Places{reads: inbound.NewGate(reads, reads), slow: inbound.NewGate(slow, slow)}
}

// Place is what one read holds of the places while it lasts.
type Place struct {
	places  *Places
	of      []string // the namespaces that share it
	answers int64    // of the places when it began
	leave   func()

	mu        sync.Mutex
	leaveSlow func() // nil for one that is quick
	left      bool
}

// Enter waits for a place, no longer than limit, for the namespace of the read.
// A source without a shared connection has no places, and nothing to wait for.
func (all *Places) Enter(ctx context.Context, slow bool, limit time.Duration) (*Place, error) {
	if all == nil {
		return nil, nil //nolint:nilnil // a nil place is one that is free
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := &Place{places: all, of: budget.Namespaces(ctx)}
	var ok bool
	if slow {
		if p.leaveSlow, ok = all.slow.Enter(limited, p.of...); !ok {
			return nil, cmp.Or(ctx.Err(), ErrBusy)
		}
	}
	if p.leave, ok = all.reads.Enter(limited, p.of...); !ok {
		if slow {
			p.leaveSlow()
		}
		return nil, cmp.Or(ctx.Err(), ErrBusy)
	}
	p.answers = all.answers.Load()
	return p, nil
}

// ErrBusy is the failure of a read that had no place in time.
var ErrBusy = status.Error(codes.DeadlineExceeded, "other reads of the same endpoint wait for an answer")

// ErrMakeWay ends a read that turned out to be slow while as many slow ones as
// may be are under way.
var ErrMakeWay = errors.New("slow, and other slow reads are under way")

// Watch takes a slow place for the read once it is slow. Where there is none it
// ends the read instead, which then waits for one and is made again: a place
// for quick ones is not for it.
func (p *Place) Watch(end context.CancelCauseFunc) (stop func() bool) {
	if p == nil || p.leaveSlow != nil {
		return func() bool { return false }
	}
	return time.AfterFunc(slowAfter, func() {
		if !p.slowDown() {
			end(ErrMakeWay)
		}
	}).Stop
}

func (p *Place) slowDown() (ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return true
	}
	p.leaveSlow, ok = p.places.slow.Try(p.of...)
	return ok
}

// Leave gives the place back.
func (p *Place) Leave() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	if p.leaveSlow != nil {
		p.leaveSlow()
	}
	p.leave()
}

// Remember says whether the next read of the same question is to begin as a
// slow one, when this one has taken so long and was before. An endpoint that
// answers nobody tells nothing about a question.
func (p *Place) Remember(before bool, took time.Duration, err error) bool {
	if p == nil {
		return false
	}
	answered := err == nil || errors.Is(err, contract.ErrNoData)
	if answered {
		p.places.answers.Add(1)
	}
	switch {
	case took < slowAfter:
		return false
	case answered || p.places.answers.Load() != p.answers:
		return true
	default:
		return before
	}
}
