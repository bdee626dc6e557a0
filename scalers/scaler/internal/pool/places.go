package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
// however many others hang.
type Places struct {
	reads, slow chan struct{} // a slow read has one of each
	answers     atomic.Int64  // reads that were answered so far
}

// NewPlaces returns those of a connection.
func NewPlaces(connection any) *Places {
	reads, slow := ReadsPerEndpoint, slowPerEndpoint
	if n, ok := connection.(Narrow); ok {
		reads, slow = n.Width()
	}
	return &Places{reads: make(chan struct{}, reads), slow: make(chan struct{}, slow)}
}

// Place is what one read holds of the places while it lasts.
type Place struct {
	places  *Places
	answers int64 // of the places when it began

	mu         sync.Mutex
	slow, left bool
}

// Enter waits for a place, no longer than limit. A source without a shared
// connection has no places, and nothing to wait for.
func (all *Places) Enter(ctx context.Context, slow bool, limit time.Duration) (*Place, error) {
	if all == nil {
		return nil, nil //nolint:nilnil // a nil place is one that is free
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	if slow {
		if err := enter(ctx, all.slow, timer.C); err != nil {
			return nil, err
		}
	}
	if err := enter(ctx, all.reads, timer.C); err != nil {
		if slow {
			<-all.slow
		}
		return nil, err
	}
	return &Place{places: all, answers: all.answers.Load(), slow: slow}, nil
}

func enter(ctx context.Context, lane chan struct{}, over <-chan time.Time) error {
	select {
	case lane <- struct{}{}:
		return nil
	default:
	}
	select {
	case lane <- struct{}{}:
		return nil
	case <-over:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
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
	if p == nil || p.slow {
		return func() bool { return false }
	}
	return time.AfterFunc(slowAfter, func() {
		if !p.slowDown() {
			end(ErrMakeWay)
		}
	}).Stop
}

func (p *Place) slowDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return true
	}
	select {
	case p.places.slow <- struct{}{}:
		p.slow = true
		return true
	default:
		return false
	}
}

// Leave gives the place back.
func (p *Place) Leave() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	if p.slow {
		<-p.places.slow
	}
	<-p.places.reads
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
