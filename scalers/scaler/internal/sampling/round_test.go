package sampling

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/identity/turns"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// beyond is what the connection fails with whose server sends too much.
func beyond() error {
	return fmt.Errorf("stream jobs: %w", &wire.PeerError{Peer: "redis:6379", Reason: errors.New("the server announced an array of 70000 elements, at most 65536")})
}

// shared is a mailbox at a server that several namespaces share. An answer for a
// poisoned letter goes beyond a bound, and everybody's connection ends with it.
type shared struct {
	mailbox

	letters  map[string][]*letter // by namespace
	users    map[string][]*testUser
	together atomic.Int64 // requests for poisoned letters and others
	asked    atomic.Int64 // requests for poisoned ones
}

func (x *shared) fill(s *bench, namespace string, n int, poisoned bool) {
	if x.letters == nil {
		x.letters, x.users = map[string][]*letter{}, map[string][]*testUser{}
		if x.answer == nil {
			x.answer = x.read
		}
	}
	for i := range n {
		l, u := &letter{box: &x.mailbox}, userEvery(10*time.Second)
		l.poisoned.Store(poisoned)
		l.answer = func(context.Context) ([]contract.Reading, error) {
			if l.poisoned.Load() {
				x.asked.Add(1)
				return nil, beyond()
			}
			return contract.One(1), nil
		}
		u.Payer = namespace
		x.letters[namespace], x.users[namespace] = append(x.letters[namespace], l), append(x.users[namespace], u)
		s.Join(asking(fmt.Sprint(namespace, i), l), u.User)
	}
}

func (x *shared) read(_ context.Context, members []contract.Source, answer func(int, contract.Result)) error {
	poisoned := slices.ContainsFunc(members, func(m contract.Source) bool { return m.(*letter).poisoned.Load() })
	if poisoned {
		x.asked.Add(1)
		if len(members) > 1 {
			x.together.Add(1)
		}
	}
	for i := range members {
		if poisoned {
			answer(i, contract.Result{Err: beyond()}) // as a client says it of all that it had asked
		} else {
			answer(i, contract.Result{Readings: contract.One(1)})
		}
	}
	return nil
}

func (x *shared) poison(namespace string, poisoned bool) {
	for _, l := range x.letters[namespace] {
		l.poisoned.Store(poisoned)
	}
}

// TestWhoGoesBeyondABoundIsFoundAndLeftAlone has tenants with sources whose answers
// are more than a client takes, at a server that others share. Nobody else is
// without an answer, not even in the first round, and the server is not asked for
// them again and again.
func TestWhoGoesBeyondABoundIsFoundAndLeftAlone(t *testing.T) {
	for enemies, n := range map[string]int{"one": 1, "some": 7, "very many": 470} {
		t.Run(enemies, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				x := &shared{}
				x.fill(s, "mallory", n, true)
				x.fill(s, "bakery", 3, false)
				x.fill(s, "shop", 20, false)
				others := slices.Concat(x.users["shop"], x.users["bakery"])
				for range 60 {
					pass(time.Second)
					fresh(t, "beside them", 11*time.Second, others...)
				}
				for i, u := range x.users["mallory"] {
					if snap := u.snap(); snap == nil || status.Code(snap.Err) != codes.Unavailable || !strings.Contains(fmt.Sprint(snap.Err), "70000 elements, at most 65536; it is asked again after ") {
						t.Fatalf("source %d: %+v", i, snap)
					}
				}
				pass(10 * time.Minute)
				x.asked.Store(0)
				x.together.Store(0)
				pass(longestPause + time.Minute)
				if asked, together := int(x.asked.Load()), x.together.Load(); asked < n || asked > 3*n || together > 0 {
					t.Errorf("%d requests for %d such sources in %v, %d of them for others as well", asked, n, longestPause+time.Minute, together)
				}
				x.poison("mallory", false)
				pass(longestPause + 2*time.Minute)
				fresh(t, "when they are mended", 11*time.Second, x.users["mallory"]...)
				pass(longestPause)
				before := len(x.requests())
				pass(10 * time.Second)
				if n := len(x.requests()) - before; n != 1 {
					t.Errorf("%d requests in a round after all, want 1", n)
				}
			})
		})
	}
}

// TestAServerThatSendsTooMuchForAnybodyIsAskedLittle: it is no member's fault, so
// nobody is left alone for it, and it is not asked once for each of them.
func TestAServerThatSendsTooMuchForAnybodyIsAskedLittle(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		x := &shared{}
		x.fill(s, "shop", 200, false)
		x.fill(s, "bakery", 200, false)
		pass(time.Minute)
		x.poison("shop", true)
		x.poison("bakery", true)
		pass(11 * time.Second)
		if n := x.asked.Load(); n == 0 || n > 4*mostTrips {
			t.Errorf("%d requests in one round or two, want some, at most %d", n, 4*mostTrips)
		}
		x.poison("shop", false)
		x.poison("bakery", false)
		pass(21 * time.Second) // the pause after the second failure at most
		fresh(t, "when it answers again", 21*time.Second, slices.Concat(x.users["shop"], x.users["bakery"])...)
	})
}

// outOfBudgetError is the refusal of a request for want of a budget.
type outOfBudgetError struct{ of string }

func (e outOfBudgetError) Error() string   { return "the budget of " + e.of + " is used up" }
func (outOfBudgetError) OutOfBudget() bool { return true }

// TestBatchesArePaidForByAllWhoseTheyAre: what a request takes is counted for its
// namespaces alone, and for want of a budget it is made again for each.
func TestBatchesArePaidForByAllWhoseTheyAre(t *testing.T) {
	var mu sync.Mutex
	payers := map[string]int{}
	paid := func(ctx context.Context) string {
		mu.Lock()
		defer mu.Unlock()
		of := strings.Join(budget.Namespaces(ctx), ",")
		payers[of]++
		return of
	}
	counted := func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		all := payers
		payers = map[string]int{}
		return all
	}
	inBubble(t, func(t *testing.T, s *bench) {
		var used atomic.Bool
		x := &shared{}
		x.answer = func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
			if of := paid(ctx); used.Load() && strings.Contains(of, "mallory") {
				return fmt.Errorf("queue: %w", outOfBudgetError{of})
			}
			return answerTheRest(ctx, members, answer)
		}
		x.fill(s, "mallory", 300, false)
		x.fill(s, "bakery", 1, false)
		x.fill(s, "shop", 2, false)
		pass(time.Minute)
		counted()
		pass(10 * time.Second)
		if got := counted(); len(got) != 1 || got["bakery,mallory,shop"] != 1 {
			t.Errorf("paid for by %v, want one request of all", got)
		}
		used.Store(true)
		pass(10 * time.Second)
		fresh(t, "beside one without a budget", 11*time.Second, slices.Concat(x.users["bakery"], x.users["shop"])...)
		for _, u := range x.users["mallory"] {
			if snap := u.snap(); snap.Err == nil || !strings.Contains(snap.Err.Error(), "the budget of mallory is used up") {
				t.Fatalf("mallory has %+v", snap)
			}
		}
		if got := counted(); len(got) > 5 || got["mallory"] > 1 {
			t.Errorf("paid for by %v", got)
		}
	})
}

// TestBatchesAreFilledInTurns has one namespace with very many members that are due,
// and two with one.
func TestBatchesAreFilledInTurns(t *testing.T) {
	g, l := &batchGroup{}, newLane()
	add := func(namespace string, n int) {
		for range n {
			u := userEvery(time.Second)
			u.Payer = namespace
			q := &question{users: map[*User]struct{}{u.User: {}}, opened: &opened{group: g}}
			l.waiting.wait(waiter{q: q})
		}
	}
	add("mallory", 10*largestBatch)
	add("shop", 1)
	add("bakery", 1)
	taken := map[string]int{}
	first := g.take(&l)
	for _, q := range first {
		taken[q.namespace()]++
	}
	if len(first) != largestBatch || taken["shop"] != 1 || taken["bakery"] != 1 {
		t.Errorf("the first request has %v of %d", taken, len(first))
	}
	g.putBack(&l, first)
	for range 10 {
		g.take(&l)
	}
	if rest := g.take(&l); len(rest) != 2 || !l.waiting.line.Idle() || len(l.waiting.of) != 0 {
		t.Errorf("%d are left of all", len(rest))
	}
}

// TestReadsByThemselvesTakeTurns has a namespace whose very many members do not
// answer, and four with one that is answered by itself alone: it is, in time.
func TestReadsByThemselvesTakeTurns(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{answer: func(ctx context.Context, _ []contract.Source, _ func(int, contract.Result)) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		join := func(namespace string, stalled bool) *testUser {
			l, u := &letter{box: box}, userEvery(30*time.Second)
			l.stalled.Store(stalled)
			u.Payer = namespace
			s.Join(asking(fmt.Sprint(namespace, s.size()), l), u.User)
			return u
		}
		for range largestBatch - 4 {
			join("mallory", true)
		}
		var others []*testUser
		for i := range 4 {
			others = append(others, join(fmt.Sprint("shop", i), false))
		}
		pass(10*time.Second + stuckAfter + time.Second)
		fresh(t, "in the first round", 12*time.Second, others...)
	})
}

// accountOf is an account that may be asked so often a minute.
func accountOf(t *testing.T, limit string) *client.Account {
	t.Helper()
	limited := func(limit string) {
		flags := flag.NewFlagSet("family", flag.ContinueOnError)
		client.BudgetFlags(flags)
		if err := flags.Parse([]string{"--requests-per-minute=" + limit}); err != nil {
			t.Fatal(err)
		}
	}
	limited(limit)
	t.Cleanup(func() { limited("0") })
	ctx, release := pool.Opening(t.Context())
	t.Cleanup(release)
	account, err := client.AccountOf(ctx, rand.Text()) // clocks of bubbles begin anew
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// TestNobodysBudgetIsThatOfOthersInABatch has a namespace with very many members that
// take a request each, on an account with few a minute, and others with one or two in
// the same batch: they are read in each round, whether or not the batch tells the
// library whom a request is for.
func TestNobodysBudgetIsThatOfOthersInABatch(t *testing.T) {
	each := func(ctx context.Context, account *client.Account, order []int, of func(context.Context, int) context.Context, answer func(int, contract.Result)) {
		var asking sync.WaitGroup
		places := make(chan struct{}, 16)
		for _, i := range order {
			places <- struct{}{}
			asking.Go(func() {
				defer func() { <-places }()
				if err := account.Take(of(ctx, i)); err != nil {
					answer(i, contract.Result{Err: fmt.Errorf("letter: %w", err)})
					return
				}
				answer(i, contract.Result{Readings: contract.One(1)})
			})
		}
		asking.Wait()
	}
	for name, read := range map[string]func(context.Context, *client.Account, []int, func(int, contract.Result)){
		"in any order": func(ctx context.Context, account *client.Account, order []int, answer func(int, contract.Result)) {
			each(ctx, account, order, func(ctx context.Context, _ int) context.Context { return ctx }, answer)
		},
		"each for its own": func(ctx context.Context, account *client.Account, order []int, answer func(int, contract.Result)) {
			budget.InTurns(ctx, order, func(i int) []int { return []int{i} })
			each(ctx, account, order, func(ctx context.Context, i int) context.Context { return budget.OfSome(ctx, i) }, answer)
		},
	} {
		for _, limit := range []string{"240", "1200"} {
			if name == "in any order" && limit != "1200" {
				continue // by the time that all are apart it is late for that
			}
			t.Run(name+", "+limit, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *bench) {
					x, account := &shared{}, accountOf(t, limit)
					x.answer = func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
						order := make([]int, len(members))
						for i := range order {
							order[i] = i
						}
						read(ctx, account, order, answer)
						return nil
					}
					x.fill(s, "mallory", 300, false)
					var others []*testUser
					for i := range 12 {
						namespace := fmt.Sprint("shop", i)
						x.fill(s, namespace, 1, false)
						others = append(others, x.users[namespace]...)
					}
					pass(11 * time.Second)
					for range 5 * 60 {
						pass(time.Second)
						fresh(t, "beside them", 21*time.Second, others...)
					}
				})
			})
		}
	}
}

func slowGroup() *batchGroup {
	return &batchGroup{parked: map[string]struct{}{}, fast: newLane(), slow: newLane()}
}

// alone has members of a namespace due that are read each by itself, by a sampler that
// has not been started.
func alone(s *Sampler, g *batchGroup, namespace string, n int) {
	l := &g.slow
	for range n {
		u := userEvery(10 * time.Second)
		u.Payer = namespace
		q := &question{users: map[*User]struct{}{u.User: {}}, opened: &opened{group: g}, index: -1}
		l.due = append(l.due, &member{
			attempt: &attempt{q: q, watchdog: time.NewTimer(time.Hour)}, o: q.opened, namespace: namespace,
			deadline: 10 * time.Second, until: time.Now().Add(10 * time.Second),
		})
	}
	s.dispatchAlone(g, l)
}

// TestOneNamespaceLeavesPlacesForReadsOfOthers: members that do not answer hold their
// places for as long as a read may last.
func TestOneNamespaceLeavesPlacesForReadsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := New(Config{Pool: pool.New(pool.Config{})}), slowGroup()
		alone(s, g, "mallory", 100)
		alone(s, g, "shop", 1)
		if n := len(s.work); n != aloneOfOne+1 {
			t.Errorf("%d reads have begun, want %d of mallory's and one of the shop's", n, aloneOfOne)
		}
	})
}

// TestMembersWithoutRoomAreNotGoneThrough: those of a namespace without room for another
// read are left where they wait, whatever ends meanwhile, and go on when there is some.
func TestMembersWithoutRoomAreNotGoneThrough(t *testing.T) {
	s, g := New(Config{Pool: pool.New(pool.Config{})}), slowGroup()
	s.crowd = &crowd{turns.NewLine[func()](4, 2)}
	s.crowd.enter("mallory")
	s.crowd.enter("mallory")
	alone(s, g, "mallory", 1000)
	if made := testing.AllocsPerRun(10, func() { s.dispatchAlone(g, &g.slow) }); made > 10 {
		t.Errorf("while there is no room, %v things are made each time", made)
	}
	if len(s.work) > 0 {
		t.Errorf("%d reads have begun without room", len(s.work))
	}
	if made := testing.AllocsPerRun(1, func() { s.crowd.leave("mallory") }); made > 100 {
		t.Errorf("when there is room for one, %v things are made", made)
	}
	if len(s.work) == 0 {
		t.Error("nobody goes on when there is room")
	}
}

// TestWhoHasRoomWaitsForNobodyWithout has members of two namespaces wait for room that
// others take, and then one of the two has some.
func TestWhoHasRoomWaitsForNobodyWithout(t *testing.T) {
	for range 20 { // whoever is first of them
		synctest.Test(t, func(t *testing.T) {
			s, g := New(Config{Pool: pool.New(pool.Config{})}), slowGroup()
			s.crowd = &crowd{turns.NewLine[func()](4, 2)}
			for _, namespace := range []string{"mallory", "mallory", "bakery", "bakery"} {
				s.crowd.enter(namespace)
			}
			alone(s, g, "mallory", 3)
			alone(s, g, "shop", 1)
			if len(s.work) > 0 {
				t.Fatal("a read has begun for which there is no room")
			}
			s.crowd.leave("bakery")
			if len(s.work) != 1 {
				t.Errorf("%d reads have begun, want that of the shop", len(s.work))
			}
		})
	}
}
