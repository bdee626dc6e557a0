package scaler

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		var inside, worst, done atomic.Int64
		g := NewGroup(most)
		for i := range 10 {
			g.Go("test", func() {
				n := inside.Add(1)
				defer inside.Add(-1)
				for w := worst.Load(); n > w && !worst.CompareAndSwap(w, n); w = worst.Load() {
				}
				<-time.After(time.Second)
				done.Add(1)
				if i == 4 {
					panic("a part")
				}
			})
		}
		if err := g.Wait(); err == nil || strings.Contains(err.Error(), "a part") {
			t.Errorf("error = %v, want one that does not quote the panic", err)
		}
		if done.Load() != 10 || worst.Load() > most {
			t.Errorf("%d parts ran, %d at a time", done.Load(), worst.Load())
		}
	})
}
