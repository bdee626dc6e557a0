package sampling

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// TestReadsUnderWayAreBounded has a namespace ask very many sources that do not
// answer, each of them by itself or each a batch of its own. What is under way of
// it is bounded, so that its sources take no more memory than there is; another
// namespace is read in time; and nothing is left of all that at the end.
func TestReadsUnderWayAreBounded(t *testing.T) {
	const sources = 400
	before := debug.SetMemoryLimit(64 << 20)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for name, open := range map[string]func(read func(context.Context)) contract.Source{
		"by themselves": func(read func(context.Context)) contract.Source {
			return &fake{answer: func(ctx context.Context) ([]contract.Reading, error) {
				read(ctx)
				return contract.One(1), ctx.Err()
			}}
		},
		"batches": func(read func(context.Context)) contract.Source {
			return &letter{box: &mailbox{answer: func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
				read(ctx)
				if ctx.Err() == nil {
					return answerTheRest(ctx, members, answer)
				}
				return ctx.Err()
			}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				var inside, worst atomic.Int64
				var all []*testUser
				for i := range sources {
					u := userEvery(time.Second)
					u.Payer = "mallory"
					all = append(all, u)
					s.Join(asking(fmt.Sprint("mallory", i), open(func(ctx context.Context) {
						if n := inside.Add(1); n > worst.Load() {
							worst.Store(n)
						}
						defer inside.Add(-1)
						<-ctx.Done()
					})), u.User)
				}
				pass(30 * time.Second)
				u := userEvery(10 * time.Second)
				u.Payer = "shop"
				s.Join(asking("shop", open(func(context.Context) {})), u.User)
				for round := range 5 {
					pass(10 * time.Second)
					if snap := u.snap(); snap == nil || snap.Err != nil || time.Since(snap.At) > 12*time.Second {
						t.Errorf("round %d: %+v", round, snap)
					}
				}
				pass(2 * time.Minute)
				for i, one := range all {
					if one.snap() == nil {
						t.Fatalf("source %d was never read", i)
					}
				}
				// Some are about to return, and are followed by the next.
				if n := worst.Load(); n > 2*fewestReads {
					t.Errorf("%d reads of one namespace were under way, of %d", n, sources)
				}
				s.Leave(u.User)
				for _, one := range all {
					s.Leave(one.User)
				}
				pass(2*KeepFor + time.Minute)
				s.mu.Lock()
				defer s.mu.Unlock()
				if n := len(s.pending) + len(s.groups) + len(s.questions); n != 0 || !s.crowd.line.Idle() {
					t.Errorf("%d reads, %d batches and questions are left", s.crowd.line.Inside(), n)
				}
			})
		})
	}
}

// TestNamespacesTogetherAreNoCallersOfTheirOwn: whoever has some namespaces has as many
// turns as those, whatever sets of them ask together; and who asks what another asks
// keeps that one waiting behind nothing of their own.
func TestNamespacesTogetherAreNoCallersOfTheirOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		const namespaces = 6
		var mu sync.Mutex
		counted := map[string]string{} // by what is asked
		stalled := func(name string) contract.Source {
			return &fake{answer: func(ctx context.Context) ([]contract.Reading, error) {
				mu.Lock()
				if counted[name] == "" {
					counted[name] = budget.Namespaces(ctx)[0]
				}
				mu.Unlock()
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		}
		join := func(name string, of ...string) {
			for _, namespace := range of {
				u := userEvery(10 * time.Second)
				u.Payer = namespace
				s.Join(asking(name, stalled(name)), u.User)
			}
		}
		for set, of := range boundtest.Sets(namespaces) {
			join(fmt.Sprint("set", set), of...)
		}
		pass(5 * time.Second)
		join("along", "mallory0", "shop")
		pass(11 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		callers := map[string]int{}
		for _, namespace := range counted {
			callers[namespace]++
		}
		if len(counted) != 1<<namespaces || len(callers) != namespaces+1 {
			t.Errorf("%d questions are asked for %d callers: %v", len(counted), len(callers), callers)
		}
		if got := counted["along"]; got != "shop" {
			t.Errorf("what mallory asks along with the shop counts for %s", got)
		}
	})
}

// TestWhoHasMuchMakesWay has two namespaces hold what connections may take of the memory,
// and then another open more of them than the part that is for those with few. It is
// read all the same, and what those with much have to give back says why it is not.
func TestWhoHasMuchMakesWay(t *testing.T) {
	before := debug.SetMemoryLimit(64 << 20) // room for 512 connections
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for name, source := range map[string]func() contract.Source{
		"by themselves": func() contract.Source {
			return &fake{answer: func(context.Context) ([]contract.Reading, error) { return contract.One(1), nil }}
		},
		"batches": func() contract.Source {
			return &letter{box: &mailbox{answer: func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
				return answerTheRest(ctx, members, answer)
			}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				join := func(namespace string, n int) (all []*testUser) {
					for i := range n {
						u := userEvery(10 * time.Second)
						u.Payer = namespace
						q := asking(fmt.Sprint(namespace, "/", i), nil)
						q.Open = func(ctx context.Context) (contract.Source, error) {
							_, err := pool.Shared(ctx, q.ID, func(context.Context) (int, error) { return 1, nil })
							return source(), err
						}
						s.Join(q, u.User)
						all = append(all, u)
					}
					return all
				}
				fails := func(all []*testUser) (n int) {
					for _, u := range all {
						u.mu.Lock()
						if err := u.latest.Err; err != nil {
							n++
							if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "--connection-memory") {
								t.Errorf("error = %v", err)
							}
						}
						u.mu.Unlock()
					}
					return n
				}
				enemies := append(join("mallory0", 300), join("mallory1", 300)...)
				pass(time.Minute)
				had := fails(enemies)
				mine := join("shop", 60)
				pass(5 * time.Minute)
				for _, when := range []string{"soon", "and for good"} {
					if n := fails(mine); n > 0 {
						t.Errorf("%s: %d of %d triggers of another namespace have no connection", when, n, len(mine))
					}
					if more := fails(enemies) - had; more < 1 || more > 80 {
						t.Errorf("%s: %d of those with much made way for %d", when, more, len(mine))
					}
					pass(10 * time.Minute)
				}
			})
		})
	}
}
