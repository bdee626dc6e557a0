package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// Places bound the requests to one server for a family that sends several for a
// read, or the same for several sources. Slow ones never hold all of them.
type Places struct{ all *pool.Places }

// NewPlaces returns as many as there are for the reads of one endpoint.
func NewPlaces() *Places { return &Places{pool.NewPlaces(nil)} }

// Pace remembers whether what is asked for was slow the last time.
type Pace struct{ slow atomic.Bool }

// Do waits for a place and asks. A request that has others wait, because it
// turned out to be slow while many are, may be ended and made again.
func (p *Places) Do(ctx context.Context, pace *Pace, ask func(context.Context) error) error {
	madeWay, err := p.do(ctx, pace, pace.slow.Load(), ask)
	if madeWay {
		_, err = p.do(ctx, pace, true, ask)
	}
	return err
}

func (p *Places) do(ctx context.Context, pace *Pace, slow bool, ask func(context.Context) error) (madeWay bool, err error) {
	held, err := p.all.Enter(ctx, slow, longestWait)
	if err != nil {
		return false, err
	}
	defer held.Leave()
	start := time.Now()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := held.Watch(end)
	err = ask(ctx)
	stop()
	if err != nil && errors.Is(context.Cause(ctx), pool.ErrMakeWay) {
		return true, nil
	}
	pace.slow.Store(held.Remember(pace.slow.Load(), time.Since(start), err))
	return false, err
}

// longestWait bounds the wait for a place where no ctx does.
const longestWait = time.Minute
