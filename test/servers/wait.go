package servers

import (
	"context"
	"fmt"
	"time"
)

// probeInterval is how often a starting server is asked whether it answers.
const probeInterval = 50 * time.Millisecond

// until asks again and again until probe succeeds, the process ends or ctx
// does. probe gets a context of at most two seconds.
func until(ctx context.Context, p *process, what string, probe func(context.Context) error) error {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := probe(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s: ended while starting: %w", what, p.ended())
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready: %w (last: %w)", what, ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// ended is how the process ended; only after done.
func (p *process) ended() error {
	if p.err != nil {
		return p.err
	}
	return fmt.Errorf("exit status 0")
}
