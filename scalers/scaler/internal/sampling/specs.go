package sampling

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/retry"
)

// refreshSpecs asks a source that names its metrics itself for their names,
// where they may have changed: always, when it does not tell. Others are left
// alone.
func (s *Sampler) refreshSpecs(ctx context.Context, o *opened) error {
	specced, ok := o.source.(contract.Specced)
	if !ok {
		return nil
	}
	s.mu.Lock()
	stale := o.specsStale || o.specsSilent
	o.specsStale = false
	s.mu.Unlock()
	if !stale {
		return nil
	}
	specs, err := specced.Specs(ctx)
	if err == nil && len(specs) == 0 {
		err = fmt.Errorf("the source names no metrics")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		o.specsStale = true
		return err
	}
	o.specs = specs
	return nil
}

// watchSpecs listens for changes of the metrics until ctx ends or the source
// says that it cannot tell.
func (s *Sampler) watchSpecs(ctx context.Context, q *question, o *opened, specced contract.Specced) {
	var backoff retry.Backoff
	for backoff.Wait(ctx) == nil {
		began := time.Now()
		err := watchSpecsSafely(ctx, specced, func() { s.respec(q, o) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.mu.Lock()
			o.specsSilent = true
			s.mu.Unlock()
			return
		}
		backoff.Ended(began)
	}
}

func watchSpecsSafely(ctx context.Context, specced contract.Specced, changed func()) (err error) {
	defer defect.Recovered("watch specs", &err)
	return specced.WatchSpecs(ctx, changed)
}

// respec has the question read again, specs first.
func (s *Sampler) respec(q *question, o *opened) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.opened != o {
		return
	}
	o.specsStale = true
	// Limited as rings are, because the source decides how often it says so.
	at := time.Now()
	if soonest := q.doorbell.lastAt.Add(shortestRing); soonest.After(at) {
		at = soonest
	}
	if at.Before(q.next) {
		q.next = at
		q.doorbell.lastAt = at
	}
	s.schedule(q)
}
