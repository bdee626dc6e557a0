package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// conn is a shared connection.
type conn struct{ closed atomic.Bool }

func (c *conn) Close() error { c.closed.Store(true); return nil }

// sharing opens n leases that all take the same key at once.
func sharing(ctx context.Context, p *Pool, n int, dial func(context.Context) (*conn, error)) ([]*Lease, []error) {
	leases, errs := make([]*Lease, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		leases[i] = p.Lease(nil, nil)
		all.Go(func() { _, errs[i] = Shared(leases[i].Context(ctx), "broker", dial) })
	}
	all.Wait()
	return leases, errs
}

func TestConnectionIsDialledOnceAndClosedAfterTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		var dials atomic.Int32
		c := &conn{}
		leases, errs := sharing(t.Context(), p, 100, func(context.Context) (*conn, error) {
			dials.Add(1)
			<-time.After(time.Second)
			return c, nil
		})
		if err := errors.Join(errs...); err != nil || dials.Load() != 1 {
			t.Fatalf("dials = %d, err = %v", dials.Load(), err)
		}
		for i, l := range leases {
			if c.closed.Load() {
				t.Fatalf("closed with %d users left", len(leases)-i)
			}
			l.Release()
			l.Release() // harmless
		}
		if !c.closed.Load() || len(p.connections) != 0 {
			t.Errorf("closed = %v, %d connections left", c.closed.Load(), len(p.connections))
		}
	})
}

func TestFailedDialIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		down := errors.New("down")
		_, errs := sharing(t.Context(), p, 10, func(context.Context) (*conn, error) {
			<-time.After(time.Second)
			return nil, down
		})
		for _, err := range errs {
			if !errors.Is(err, down) {
				t.Errorf("err = %v", err)
			}
		}
		leases, errs := sharing(t.Context(), p, 1, func(context.Context) (*conn, error) { return &conn{}, nil })
		if errs[0] != nil {
			t.Errorf("err = %v after the broker came back", errs[0])
		}
		leases[0].Release()
	})
}

func TestDialOutlivesTheCallerWhoBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		dial := func(ctx context.Context) (*conn, error) {
			select {
			case <-time.After(time.Second):
				return &conn{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		first, second := p.Lease(nil, nil), p.Lease(nil, nil)
		impatient := make(chan error, 1)
		go func() {
			_, err := Shared(first.Context(short), "broker", dial)
			impatient <- err
		}()
		synctest.Wait()
		if _, err := Shared(second.Context(t.Context()), "broker", dial); err != nil {
			t.Errorf("err = %v for the one who waited", err)
		}
		if err := <-impatient; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v for the one who did not", err)
		}
		second.Release()
		if len(p.connections) != 0 {
			t.Errorf("%d connections left", len(p.connections))
		}
	})
}

func TestDialThatNobodyWaitsForIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan error, 1)
		_, _ = Shared(p.Lease(nil, nil).Context(short), "broker", func(ctx context.Context) (*conn, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the dial ended with %v", err)
		}
		synctest.Wait()
		if len(p.connections) != 0 {
			t.Errorf("%d connections left", len(p.connections))
		}
	})
}

func TestConnectionOverAnotherIsClosedFirst(t *testing.T) {
	p := New(Config{})
	l := p.Lease(nil, nil)
	below := &conn{}
	type session struct{ *conn }
	above, err := Shared(l.Context(t.Context()), "session", func(ctx context.Context) (session, error) {
		if _, err := Shared(ctx, "broker", func(context.Context) (*conn, error) { return below, nil }); err != nil {
			return session{}, err
		}
		return session{&conn{}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if below.closed.Load() {
		t.Error("closed beneath its user")
	}
	l.Release()
	if !above.closed.Load() || !below.closed.Load() || len(p.connections) != 0 {
		t.Errorf("above closed = %v, below closed = %v, %d left", above.closed.Load(), below.closed.Load(), len(p.connections))
	}
}

func TestSharedOutsideOfOpenSaysSo(t *testing.T) {
	if _, err := Shared(t.Context(), 1, func(context.Context) (*conn, error) { return &conn{}, nil }); err == nil {
		t.Error("no error")
	}
}
