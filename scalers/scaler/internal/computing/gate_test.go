package computing

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// TestTurnsThatDoNotEnd: what one namespace computes without an end keeps others
// waiting for a moment, once. It has no other turn itself until that has ended.
func TestTurnsThatDoNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most, _ := Places()
		enemy, mine := budget.Of(t.Context(), "enemy"), budget.Of(t.Context(), "mine")
		stuck := make([]Turn, 2*most)
		for i := range stuck { // as many as come at once
			ctx, cancel := context.WithTimeout(enemy, longest/2)
			_ = stuck[i].Work(ctx)
			cancel()
		}
		synctest.Wait()
		began := time.Now()
		for range 10 {
			turns := make([]Turn, most)
			for i := range turns {
				if err := turns[i].Work(budget.Of(t.Context(), string(rune('a'+i)))); err != nil {
					t.Fatal(err)
				}
			}
			for i := range turns {
				turns[i].Rest()
			}
		}
		if took := time.Since(began); took > longest {
			t.Errorf("others wait for %v", took)
		}

		var next, own Turn
		waiting, cancel := context.WithTimeout(enemy, time.Minute)
		defer cancel()
		if err := next.Work(waiting); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("one more of the namespace: %v", err)
		}
		for i := range stuck {
			stuck[i].Rest()
		}
		if err := next.Work(enemy); err != nil {
			t.Errorf("at the end: %v", err)
		}
		next.Rest()
		if err := own.Work(mine); err != nil {
			t.Error(err)
		}
		own.Rest()
		again := make([]Turn, most) // no place was lost, and none was made
		for i := range again {
			if err := again[i].Work(budget.Of(t.Context(), string(rune('a'+i)))); err != nil {
				t.Error(err)
			}
		}
		one, end := context.WithTimeout(t.Context(), longest/2)
		defer end()
		var more Turn
		if more.Work(budget.Of(one, "more")) == nil {
			t.Error("there is a place too many")
		}
		for i := range again {
			again[i].Rest()
		}
	})
}
