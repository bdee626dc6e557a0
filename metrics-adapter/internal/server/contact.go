package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
)

const (
	// contactTimeout bounds the question whether the API server is there. The
	// probe that waits for it has a little longer.
	contactTimeout = 2 * time.Second
	// contactFor is how long its answer is that of all who ask.
	contactFor = time.Second
)

// contact knows whether the API server is there. Anybody may ask, as often as they
// like; the API server is asked once a second.
type contact struct {
	ask func(context.Context) error

	mu      sync.Mutex
	last    *contacted // the answer there is, or is about to be
	running sync.WaitGroup
}

type contacted struct {
	done  chan struct{} // closed when there are err and until
	err   error
	until time.Time
}

// check returns the answer of the last second. Without one it asks, once for all
// who wait for it.
func (c *contact) check(ctx context.Context) error {
	a := c.answer(ctx)
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("the API server does not answer: %w", context.Cause(ctx))
	}
}

func (c *contact) answer(ctx context.Context) *contacted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		select {
		case <-c.last.done:
			if time.Now().Before(c.last.until) {
				return c.last
			}
		default: // it is being asked
			return c.last
		}
	}
	a := &contacted{done: make(chan struct{})}
	c.last = a
	// Others wait for it too, who may stay when the first goes.
	ctx = context.WithoutCancel(ctx)
	guard.Go(&c.running, "a question to the API server", "", func() {
		ctx, cancel := context.WithTimeout(ctx, contactTimeout)
		defer cancel()
		a.err = guard.Call("a question to the API server", "", func() error { return c.ask(ctx) })
		a.until = time.Now().Add(contactFor)
		close(a.done)
	})
	return a
}

// connection returns why an adapter that the API server does not answer cannot
// answer either: it has to ask whether the caller may, and it is the API server
// that would go on to send every other question here. Families are no condition:
// without one it says what fallback says, and others have theirs.
func connection(ctx context.Context, api discovery.DiscoveryInterface) error {
	err := api.RESTClient().Get().AbsPath("/livez").Do(ctx).Error()
	if answer := apierrors.APIStatus(nil); err == nil || errors.As(err, &answer) { // whatever it says, it is there
		return nil
	}
	return fmt.Errorf("the API server does not answer: %w", err)
}
