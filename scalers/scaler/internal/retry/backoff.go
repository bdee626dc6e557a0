// Package retry paces attempts at what should hold for long.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// shortestSilence and longestSilence bound the pause between two attempts.
	shortestSilence = time.Second
	longestSilence  = time.Minute
	// stood is how long an attempt must have held for the next pause to be the
	// shortest again. What is dropped as soon as it connects must cost no more
	// than polling does.
	stood = 30 * time.Second
)

// Backoff paces attempts at what should hold for long, such as a stream or a
// subscription: the first at once, the next after a second, and then ever
// later, up to a minute, until one has held for half a minute. The zero value
// is ready. Attempts are made one after the other.
type Backoff struct {
	pause time.Duration
	next  time.Time
}

// Wait returns when it is time for the next attempt, with ctx's error when that
// ends before.
func (b *Backoff) Wait(ctx context.Context) error { return SleepUntil(ctx, b.next) }

// Ended plans the next attempt after one has ended that held since then, or
// never, which is the zero time. The pause is up to a fifth longer, so that all
// who lost the same server do not come back at once.
func (b *Backoff) Ended(since time.Time) {
	now := time.Now()
	b.pause = min(max(2*b.pause, shortestSilence), longestSilence)
	if !since.IsZero() && now.Sub(since) >= stood {
		b.pause = shortestSilence
	}
	b.next = now.Add(b.pause + rand.N(b.pause/5))
}

// Due is when it is time for the next attempt.
func (b *Backoff) Due() time.Time { return b.next }

// Rest puts the next attempt off.
func (b *Backoff) Rest(pause time.Duration) { b.next = time.Now().Add(pause) }

// SleepUntil returns at that time, with ctx's error when that ends before.
func SleepUntil(ctx context.Context, at time.Time) error {
	pause := time.Until(at)
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
