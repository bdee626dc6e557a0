package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/retry"
)

// crowd is many who listen at one place, each as the sampler does.
type crowd struct {
	listening atomic.Int32
	rung      atomic.Int32
	failed    sync.Map // error by topic
	done      sync.WaitGroup
}

// gather has n listen, each for a topic of its own, from a second after the one
// before.
func gather(ctx context.Context, b *SharedDoorbell, n int, run func(context.Context, *Listeners) error) *crowd {
	c := &crowd{}
	for i := range n {
		c.done.Go(func() {
			if retry.SleepUntil(ctx, time.Now().Add(time.Duration(i)*time.Second)) == nil {
				c.listen(ctx, b, fmt.Sprint(i), run)
			}
		})
	}
	return c
}

func (c *crowd) listen(ctx context.Context, b *SharedDoorbell, topic string, run func(context.Context, *Listeners) error) {
	var backoff retry.Backoff
	for backoff.Wait(ctx) == nil {
		err := b.Listen(ctx, "place", topic, run, func() { c.listening.Add(1) }, func() { c.rung.Add(1) })
		c.failed.Store(topic, err)
		backoff.Ended(time.Time{})
		if errors.Is(err, contract.ErrDoorbellRefused) {
			backoff.Rest(contract.AskAgain)
		}
	}
}

// TestAThousandListenersAreOneToTheServer whatever becomes of what they share.
func TestAThousandListenersAreOneToTheServer(t *testing.T) {
	tests := map[string]struct {
		run         func(*Listeners) error
		least, most int32 // within an hour
	}{
		"refused":               {func(*Listeners) error { return fmt.Errorf("%w: too old", contract.ErrDoorbellRefused) }, 6, 7},
		"broken":                {func(*Listeners) error { return errors.New("connection refused") }, 50, 67},
		"connected and dropped": {func(l *Listeners) error { l.Listening(l.Topics()); return errors.New("reset") }, 50, 67},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				b := NewSharedDoorbell(ctx)
				var runs atomic.Int32
				c := gather(ctx, b, 1000, func(_ context.Context, l *Listeners) error {
					runs.Add(1)
					return tt.run(l)
				})
				<-time.After(time.Hour)
				synctest.Wait()
				cancel()
				c.done.Wait()
				b.Close()
				if n := runs.Load(); n < tt.least || n > tt.most {
					t.Errorf("a thousand listened %d times in an hour, want %d to %d", n, tt.least, tt.most)
				}
			})
		})
	}
}

// standing listens until ctx ends or nobody is left.
func standing(ctx context.Context, l *Listeners) error {
	for {
		topics := l.Topics()
		if len(topics) == 0 {
			return nil
		}
		l.Listening(topics)
		select {
		case <-l.Changed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestOneTopicFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := NewSharedDoorbell(ctx)
		var at *Listeners
		run := func(ctx context.Context, l *Listeners) error { at = l; return standing(ctx, l) }
		errs := make([]chan error, 3)
		for i := range errs {
			errs[i] = make(chan error, 1)
			go func() { errs[i] <- b.Listen(ctx, "place", fmt.Sprint(i), run, func() {}, func() {}) }()
		}
		synctest.Wait()
		moved := errors.New("moved")
		at.Fail("1", moved)
		synctest.Wait()
		if err := <-errs[1]; !errors.Is(err, moved) {
			t.Errorf("listening ended with %v", err)
		}
		cancel()
		for _, i := range []int{0, 2} {
			if err := <-errs[i]; !errors.Is(err, context.Canceled) {
				t.Errorf("listening for another topic ended with %v", err)
			}
		}
		b.Close()
	})
}

func TestTooManyTopicsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := NewSharedDoorbell(ctx)
		var all sync.WaitGroup
		for i := range mostTopics {
			of := budget.Of(ctx, fmt.Sprint("namespace-", i/mostTopicsOfOne))
			all.Go(func() { _ = b.Listen(of, "place", fmt.Sprint(i), standing, func() {}, func() {}) })
			if i == mostTopicsOfOne-1 {
				synctest.Wait()
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				if err := b.Listen(of, "place", "another", standing, func() {}, func() {}); !errors.Is(err, contract.ErrDoorbellRefused) {
					t.Errorf("one topic too many of a namespace: %v, want it refused", err)
				}
				if err := b.Listen(budget.Of(ctx, "shop"), "place", "another", standing, func() {}, func() {}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a topic of another namespace: %v, want it to be heard", err)
				}
				cancel()
			}
		}
		synctest.Wait()
		one := func(topic string) error {
			ctx, cancel := context.WithTimeout(budget.Of(ctx, "shop"), time.Second)
			defer cancel()
			return b.Listen(ctx, "place", topic, standing, func() {}, func() {})
		}
		if err := one("another"); !errors.Is(err, contract.ErrDoorbellRefused) {
			t.Errorf("one topic too many: %v, want it refused", err)
		}
		if err := one("7"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a topic that is listened for: %v, want it to be heard", err)
		}
		cancel()
		all.Wait()
		b.Close()
	})
}
