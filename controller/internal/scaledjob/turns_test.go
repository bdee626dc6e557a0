package scaledjob

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A namespace with any number of large ScaledJobs keeps workers, and half of the
// rate, for the others.
func TestNamespacesShareTheCreationOfJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		for range mostSlices {
			wait, _, _ := all.begin("greedy", time.Now())
			if wait == nil {
				t.Fatal("the first objects of a namespace do not get their turn")
			}
			go func() {
				for wait(ctx) == nil { // it never ends its slice
				}
			}()
		}
		synctest.Wait()
		last := time.Duration(0)
		for i := range 1000 {
			wait, _, again := all.begin("greedy", time.Now())
			if wait != nil || again <= last {
				t.Fatalf("object %d more has a turn: %v, and comes again after %v", i, wait != nil, again)
			}
			last = again
		}
		wait, end, _ := all.begin("shop", time.Now())
		if wait == nil {
			t.Fatal("another namespace does not get its turn")
		}
		began := time.Now()
		for range 3 * namespaceRate {
			if err := wait(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%d Jobs of another namespace took %v", 3*namespaceRate, took)
		}
		end()
	})
}

func TestIdleNamespacesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		for i := range 100 {
			wait, end, _ := all.begin(fmt.Sprint("ns-", i), time.Now())
			if err := wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			end()
		}
		<-time.After(time.Second)
		all.begin("shop", time.Now())
		if n := len(all.of); n != 1 {
			t.Errorf("%d namespaces are remembered", n)
		}
	})
}
