package sampling

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// narrow is a shared connection like that to a database.
type narrow struct{ link }

func (*narrow) Width() (reads, slow int) { return 4, 2 }

// onNarrow asks a question over the shared narrow connection.
func onNarrow(question string, source *fake) Query {
	b := asking(question, nil)
	b.Open = func(ctx context.Context) (contract.Source, error) {
		source.opened()
		_, err := pool.Shared(ctx, "database", func(context.Context) (*narrow, error) { return &narrow{}, nil })
		return source, err
	}
	return b
}

// duration is one that a test changes.
func duration(d time.Duration) *atomic.Int64 {
	var long atomic.Int64
	long.Store(int64(d))
	return &long
}

// lasting answers after so long.
func lasting(long *atomic.Int64) func(context.Context) ([]contract.Reading, error) {
	return func(ctx context.Context) ([]contract.Reading, error) {
		timer := time.NewTimer(time.Duration(long.Load()))
		defer timer.Stop()
		select {
		case <-timer.C:
			return contract.One(1), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TestSlowReadsStarveNoOther has more slow sources at one endpoint than it
// carries reads: all others are read on time, from the first round on.
func TestSlowReadsStarveNoOther(t *testing.T) {
	for name, lasts := range map[string]time.Duration{"slow": 6 * time.Second, "without an answer": time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				long, quick := duration(lasts), duration(time.Millisecond)
				var others []*testUser
				for i := range 10 {
					s.Join(onNarrow(fmt.Sprint("slow", i), &fake{answer: lasting(long)}), userEvery(30*time.Second).User)
				}
				for i := range 50 {
					u := userEvery(30 * time.Second)
					s.Join(onNarrow(fmt.Sprint("quick", i), &fake{answer: lasting(quick)}), u.User)
					others = append(others, u)
				}
				for round := range 4 {
					pass(30 * time.Second)
					for i, u := range others {
						if snap := u.snap(); snap == nil || snap.Err != nil || time.Since(snap.At) > 33*time.Second {
							t.Errorf("round %d: quick%d: %+v", round, i, snap)
						}
					}
				}
			})
		})
	}
}

// TestReadsOfOneNamespaceHaveNoOtherWait has one namespace ask for far more, over
// a connection that is everybody's, than that carries: reads that count as quick,
// and slow ones. Those of another have their turn.
func TestReadsOfOneNamespaceHaveNoOtherWait(t *testing.T) {
	for name, tt := range map[string]struct{ theirs, own time.Duration }{
		"just not slow":          {450 * time.Millisecond, time.Millisecond},
		"slow, for a slow one":   {2 * time.Second, time.Second},
		"silent, for a slow one": {time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				for i := range 500 {
					u := userEvery(10 * time.Second)
					u.Payer = "mallory"
					s.Join(onNarrow(fmt.Sprint("mallory", i), &fake{answer: lasting(duration(tt.theirs))}), u.User)
				}
				pass(time.Minute)
				u := userEvery(30 * time.Second)
				u.Payer = "shop"
				s.Join(onNarrow("shop", &fake{answer: lasting(duration(tt.own))}), u.User)
				for round := range 5 {
					pass(30 * time.Second)
					if snap := u.snap(); snap == nil || snap.Err != nil || time.Since(snap.At) > 45*time.Second {
						t.Errorf("round %d: %+v", round, snap)
					}
				}
			})
		})
	}
}

// TestSlowReadIsRememberedUntilItIsQuick follows one question.
func TestSlowReadIsRememberedUntilItIsQuick(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		long := duration(2 * time.Second)
		u := userEvery(10 * time.Second)
		b := onNarrow("q", &fake{answer: lasting(long)})
		s.Join(b, u.User)
		for _, want := range []bool{true, false, true} {
			pass(15 * time.Second)
			if got := s.isSlow(u.q.opened); got != want {
				t.Errorf("slow = %v after reads of %v", got, time.Duration(long.Load()))
			}
			long.Store(int64(2*time.Second) - long.Load()) // the other way round
		}
	})
}

// TestSilentEndpointMakesNobodySlow has an endpoint that answers nobody: when
// it is back, no question of it is taken for a slow one.
func TestSilentEndpointMakesNobodySlow(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		long := duration(time.Hour)
		var all []*testUser
		for i := range 20 {
			u := userEvery(10 * time.Second)
			s.Join(onNarrow(fmt.Sprint("q", i), &fake{answer: lasting(long)}), u.User)
			all = append(all, u)
		}
		pass(2 * time.Minute)
		for i, u := range all {
			if u.snap().Err == nil || s.isSlow(u.q.opened) {
				t.Errorf("q%d: slow = %v, %+v", i, s.isSlow(u.q.opened), u.snap())
			}
		}
	})
}

// TestSlowReadMakesWay has all places for slow reads taken: it ends, which is
// nobody's answer, and is made again once there is room.
func TestSlowReadMakesWay(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		long := duration(2 * time.Second)
		for i := range 2 {
			s.Join(onNarrow(fmt.Sprint("first", i), &fake{answer: lasting(long)}), userEvery(time.Hour).User)
		}
		pass(time.Second)
		u, source := userEvery(time.Hour), &fake{answer: lasting(long)}
		s.Join(onNarrow("q", source), u.User)
		pass(5 * time.Second)
		if snap := u.snap(); snap == nil || snap.Err != nil || u.times() != 1 || source.count() != 2 {
			t.Errorf("%d reads, %d snapshots, %+v", source.count(), u.times(), snap)
		}
	})
}
