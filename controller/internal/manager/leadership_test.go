package manager

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// candidate is a controller of several. Its API server is not a real one, so
// that it can be taken away and time be virtual.
type candidate struct {
	*leadership
	terms, forgotten atomic.Int32
	stop             context.CancelFunc
	ended            chan error
}

func stand(t *testing.T, c *fake.Clientset, name string) *candidate {
	t.Helper()
	own := &candidate{ended: make(chan error, 1)}
	options, err := Parse(nil, env("POD_NAMESPACE", "sluice-system"))
	if err != nil {
		t.Fatal(err)
	}
	elector, err := elect(c, name, options)
	if err != nil {
		t.Fatal(err)
	}
	own.leadership = &leadership{
		elector: elector,
		forget:  func() { own.forgotten.Add(1) },
		began:   func(context.Context) { own.terms.Add(1) },
		log:     slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	own.stop = cancel
	go func() { own.ended <- own.Start(ctx) }()
	return own
}

// settle lets so much time pass and everything that is due then happen.
func settle(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestHandOverOnACleanStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset()
		first := stand(t, c, "first")
		settle(time.Second)
		second := stand(t, c, "second")
		settle(time.Minute)
		if !first.leads() || second.leads() {
			t.Fatalf("first leads: %v, second leads: %v", first.leads(), second.leads())
		}
		working, done, leads := first.within(t.Context())
		if !leads || working.Err() != nil {
			t.Fatalf("no work in the term: %v", working.Err())
		}
		first.stop()
		settle(time.Minute)
		if working.Err() == nil {
			t.Error("the work does not hear that the term ends")
		}
		if second.leads() {
			t.Error("the lease was let go while work was in hand")
		}
		done()
		settle(2 * time.Second)
		if !second.leads() || second.terms.Load() != 1 || second.forgotten.Load() != 1 {
			t.Errorf("second leads: %v, %d terms", second.leads(), second.terms.Load())
		}
		if err := <-first.ended; err != nil {
			t.Error(err)
		}
		second.stop()
		if err := <-second.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestLostLeaseEndsTheTermAndNotTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset()
		var away atomic.Bool
		c.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			if away.Load() {
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		only := stand(t, c, "only")
		settle(time.Second)
		var inner counting
		gate := onLeader{admitted{&inner}, only.leadership}
		ask := func(want counting) {
			t.Helper()
			if _, err := gate.Reconcile(t.Context(), reconcile.Request{}); err != nil || inner != want {
				t.Errorf("%d calls, want %d; %v", inner, want, err)
			}
		}
		ask(1)
		away.Store(true)
		settle(time.Minute)
		ask(1)
		away.Store(false)
		settle(20 * time.Second)
		ask(2)
		if only.terms.Load() != 2 || only.forgotten.Load() != 2 {
			t.Errorf("%d terms, forgotten %d times", only.terms.Load(), only.forgotten.Load())
		}
		only.stop()
		if err := <-only.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheHolderWritesTheLeaseNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset()
		var writes atomic.Int32
		c.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			writes.Add(1)
			return false, nil, nil
		})
		first := stand(t, c, "first")
		settle(time.Second)
		second := stand(t, c, "second")
		settle(time.Minute)
		before := writes.Load()
		settle(time.Minute)
		if n := writes.Load() - before; n < 15 || n > 30 {
			t.Errorf("%d writes in a minute, want one every 2 to 4 s", n)
		}
		if first.terms.Load() != 1 || second.terms.Load() != 0 {
			t.Errorf("%d and %d terms, want 1 and none", first.terms.Load(), second.terms.Load())
		}
		for _, one := range []*candidate{second, first} {
			one.stop()
			if err := <-one.ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// Whenever the API server goes away, a term is over before the lease is, which
// others count from the last write.
func TestATermEndsBeforeItsLease(t *testing.T) {
	for after := 60 * time.Second; after < 64*time.Second; after += 230 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			c := fake.NewClientset()
			var written time.Time
			var away atomic.Bool
			c.PrependReactor("*", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if away.Load() {
					return true, nil, errors.New("connection refused")
				}
				if action.GetVerb() == "update" {
					written = time.Now()
				}
				return false, nil, nil
			})
			only := stand(t, c, "only")
			settle(after)
			away.Store(true)
			<-time.After(time.Until(written.Add(15 * time.Second)))
			synctest.Wait()
			if only.leads() {
				t.Errorf("away after %s: still leads when its lease has ended", after)
			}
			only.stop()
			if err := <-only.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAloneItAlwaysLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leadership{forget: func() {}, began: func(context.Context) {}, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Start(ctx) }()
		synctest.Wait()
		if !l.leads() {
			t.Error("does not lead")
		}
		cancel()
		if err := <-ended; err != nil || l.leads() {
			t.Errorf("leads after the end: %v, %v", l.leads(), err)
		}
	})
}

func TestImpossiblePeriodsAreToldAtTheStart(t *testing.T) {
	options, err := Parse(nil, env("KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION", "5s"))
	if err != nil {
		t.Fatal(err)
	}
	elector, err := elect(fake.NewClientset(), "any", options)
	if err != nil {
		t.Fatal(err)
	}
	l := &leadership{elector: elector, log: slog.New(slog.DiscardHandler)}
	if err := l.Start(t.Context()); err == nil || err.Error() != "leader election: leaseDuration must be greater than renewDeadline" {
		t.Errorf("error %v", err)
	}
}

// ending fails with the end of its context.
type ending struct{ begun chan struct{} }

func (e ending) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	close(e.begun)
	<-ctx.Done()
	return reconcile.Result{}, ctx.Err()
}

func TestWorkThatTheTermEndsIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leadership{forget: func() {}, began: func(context.Context) {}, log: slog.New(slog.DiscardHandler)}
		l.lead(t.Context())
		e := ending{make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			_, err := onLeader{admitted{e}, l}.Reconcile(t.Context(), reconcile.Request{})
			ended <- err
		}()
		<-e.begun
		l.lose()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
