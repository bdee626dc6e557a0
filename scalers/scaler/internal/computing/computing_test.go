package computing

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestNamespacesTakeTurns has one namespace compute as much as it can, and another
// that computes now and then: it waits for no more than the turns that are under
// way, and there are never more than there may be.
func TestNamespacesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var enemies sync.WaitGroup
		defer enemies.Wait() // time passes as long as this
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		most, _ := Places()
		var working atomic.Int64
		compute := func(turn *Turn, namespace string) error {
			if err := turn.Work(budget.Of(ctx, namespace)); err != nil {
				return err
			}
			if n := working.Add(1); n > int64(most) {
				t.Errorf("%d compute at once, want %d at most", n, most)
			}
			<-time.After(slice / 4)
			working.Add(-1)
			return nil
		}
		for range 500 {
			enemies.Go(func() {
				var turn Turn
				defer turn.Rest()
				for {
					if compute(&turn, "enemy") != nil {
						return
					}
				}
			})
		}
		synctest.Wait()
		for range 10 {
			began := time.Now()
			var turn Turn
			if err := compute(&turn, "mine"); err != nil {
				t.Fatal(err)
			}
			turn.Rest()
			if took := time.Since(began); took > slice+slice/4+slice/4 {
				t.Errorf("a quarter of a turn took %v", took)
			}
		}
	})
}

// TestSetsOfNamespacesTakeTurnsOfTheirs: what several namespaces compute together is a
// turn of one of them, however many sets of them there are.
func TestSetsOfNamespacesTakeTurnsOfTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const namespaces = 7
		var enemies sync.WaitGroup
		defer enemies.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, of := range boundtest.Sets(namespaces) {
			enemies.Go(func() {
				var turn Turn
				defer turn.Rest()
				for turn.Work(budget.OfMembers(ctx, of)) == nil {
					<-time.After(slice)
				}
			})
		}
		synctest.Wait()
		for _, of := range [][]string{{"shop"}, {"mallory0", "shop"}} {
			for range 10 {
				began := time.Now()
				var turn Turn
				if err := turn.Work(budget.OfMembers(ctx, of)); err != nil {
					t.Fatal(err)
				}
				turn.Rest()
				if took := time.Since(began); took > (namespaces+1)*slice {
					t.Errorf("%v waited for %v", of, took)
				}
			}
		}
	})
}

// TestWorkEndsWithItsContext: whoever has no time left neither waits nor works on,
// and leaves its turn to others.
func TestWorkEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most, ofOne := Places()
		turns := make([]Turn, most)
		working, cancel := context.WithCancel(t.Context())
		for i := range turns {
			if err := turns[i].Work(budget.Of(working, string(rune('a'+i/ofOne)))); err != nil {
				t.Fatal(err)
			}
		}
		waiting, end := context.WithTimeout(t.Context(), longest/2)
		defer end()
		var late Turn
		if err := late.Work(waiting); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("who waits for too long: %v", err)
		}
		cancel()
		for i := range turns {
			if err := turns[i].Work(working); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("who works for too long: %v", err)
			}
		}
		if err := late.Work(t.Context()); err != nil {
			t.Errorf("the next: %v", err)
		}
		late.Rest()
		late.Rest() // is nothing the second time
		again, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		for i := range turns { // all are there again
			if err := turns[i].Work(budget.Of(again, string(rune('a'+i/ofOne)))); err != nil {
				t.Errorf("turn %d of %d at the end: %v", i, most, err)
			}
			defer turns[i].Rest()
		}
	})
}

// TestOneTurn: who has a turn does not wait for another within it.
func TestOneTurn(t *testing.T) {
	ctx, turn := With(t.Context())
	defer turn.Rest()
	for range 100 {
		within, end := Of(ctx)
		if err := within.Work(ctx); err != nil || within != turn {
			t.Fatal(err)
		}
		end()
	}
	own, end := Of(t.Context())
	if own == turn {
		t.Error("a turn of somebody else")
	}
	end()
}
