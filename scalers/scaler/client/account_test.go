package client

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

var accounts atomic.Int64

// account returns one of its own for each run of a test, whose clock begins anew, and
// limits what each may be asked.
func account(t *testing.T, limit string) *Account {
	t.Helper()
	setBudget(t, limit)
	ctx, release := pool.Opening(t.Context())
	t.Cleanup(release)
	a, err := AccountOf(ctx, []any{t.Name(), accounts.Add(1)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func setBudget(t *testing.T, limit string) {
	t.Helper()
	flags := flag.NewFlagSet("family", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	BudgetFlags(flags)
	if err := flags.Parse([]string{"--requests-per-minute=" + limit}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { requestsPerMinute.Store(0) })
}

// pass has time go by on the fake clock.
func pass(d time.Duration) { <-time.After(d) }

// in is the context of a read with so much time, for the triggers of a namespace.
func in(t *testing.T, namespace string, most time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(budget.Of(t.Context(), namespace), most)
	t.Cleanup(cancel)
	return ctx
}

// TestNoMinuteHasMoreThanTheBudget has somebody ask all the time.
func TestNoMinuteHasMoreThanTheBudget(t *testing.T) {
	for limit, n := range map[string]int{"1": 1, "7": 7, "60": 60, "1000": 1000} {
		t.Run(limit, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := account(t, limit)
				start := time.Now()
				var made []time.Time
				for time.Since(start) < 5*time.Minute {
					if err := a.Take(in(t, "shop", 10*time.Minute)); err != nil {
						t.Fatal(err)
					}
					made = append(made, time.Now())
				}
				for i := range made {
					if i+n < len(made) && made[i+n].Sub(made[i]) < time.Minute {
						t.Fatalf("%d requests in %v", n+1, made[i+n].Sub(made[i]))
					}
				}
				if least := 4 * n; len(made) < least {
					t.Errorf("%d requests in five minutes, want at least %d", len(made), least)
				}
			})
		})
	}
}

// TestNamespacesTakeTurns has one namespace with many that wait and one with few.
func TestNamespacesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "6") // one at once, and another every ten seconds
		if err := a.Take(in(t, "crowd", time.Minute)); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		ask := func(namespace, name string) {
			go func() {
				err := a.Take(in(t, namespace, 10*time.Minute))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					name += " failed"
				}
				order = append(order, name)
			}()
			synctest.Wait()
		}
		for _, name := range []string{"a1", "a2", "a3", "a4"} {
			ask("crowd", name)
		}
		ask("few", "b1")
		ask("few", "b2")
		pass(2 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got, want := strings.Join(order, " "), "a1 b1 a2 b2 a3 a4"; got != want {
			t.Errorf("turns = %s, want %s", got, want)
		}
	})
}

// TestSetsOfNamespacesHaveNoTurnsOfTheirOwn: requests that several namespaces share
// are made in the turns of those.
func TestSetsOfNamespacesHaveNoTurnsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const namespaces = 7
		a := account(t, "60") // six at once, and more than another each second
		took := map[string]time.Duration{}
		var asking sync.WaitGroup
		var mu sync.Mutex
		start := time.Now()
		ask := func(name string, of []string) {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(budget.OfMembers(t.Context(), of), time.Hour)
				defer cancel()
				err := a.Take(ctx)
				mu.Lock()
				defer mu.Unlock()
				if took[name] = time.Since(start); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			synctest.Wait()
		}
		for i, of := range boundtest.Sets(namespaces) {
			ask(fmt.Sprint("set ", i), of)
		}
		ask("alone", []string{"shop"})
		ask("along", []string{"mallory0", "shop"})
		asking.Wait()
		if alone, along := took["alone"], took["along"]; alone > (namespaces+2)*2*time.Second || along > 2*(namespaces+2)*2*time.Second {
			t.Errorf("the turns of another come after %v and %v", alone, along)
		}
	})
}

// TestATurnThatComesTooLateIsRefusedAtOnce keeps half of the time for the answer.
func TestATurnThatComesTooLateIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "6")
		start := time.Now()
		take := func(most time.Duration) error { return a.Take(in(t, "shop", most)) }
		if err := take(time.Second); err != nil {
			t.Fatal(err)
		}
		err := take(15 * time.Second) // half of it ends before the turn
		const text = "the request budget of the account, 6 a minute (--requests-per-minute), is used up by the triggers that share it: a turn is free within 10s; a longer pollingInterval needs fewer"
		var refused *AccountError
		if !errors.As(err, &refused) || err.Error() != text || status.Code(err) != codes.ResourceExhausted || !refused.Until.Equal(start.Add(10*time.Second)) {
			t.Fatalf("error = %v", err)
		}
		if time.Since(start) != 0 {
			t.Errorf("refused after %v", time.Since(start))
		}
		if err := take(21 * time.Second); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("the next turn: %v after %v", err, time.Since(start))
		}
	})
}

// TestWhoIsOvertakenLeavesInTime has others come that have their turn before.
func TestWhoIsOvertakenLeavesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "6")
		if err := a.Take(in(t, "a", time.Minute)); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() { _ = a.Take(in(t, "a", time.Hour)) }()
		synctest.Wait()
		go func() { failed <- a.Take(in(t, "a", 45*time.Second)) }() // the second of its namespace: after 20 s
		synctest.Wait()
		for _, other := range []string{"b", "c"} {
			go func() { _ = a.Take(in(t, other, time.Hour)) }()
		}
		start := time.Now()
		err := <-failed
		if status.Code(err) != codes.ResourceExhausted || time.Since(start) != 22500*time.Millisecond {
			t.Errorf("error = %v after %v", err, time.Since(start))
		}
		pass(time.Minute)
		synctest.Wait()
		if a.waiting != 0 || len(a.lanes) != 0 || a.next != nil {
			t.Errorf("%d are still said to wait in %d lanes", a.waiting, len(a.lanes))
		}
	})
}

// TestWhoEndsItsReadDoesNotTakeATurn ends one that waits.
func TestWhoEndsItsReadDoesNotTakeATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "6")
		if err := a.Take(in(t, "shop", time.Minute)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Take(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
		if err := a.Take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("asked by an ended read: %v", err)
		}
		start := time.Now()
		if err := a.Take(in(t, "shop", time.Minute)); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("the turn of the next: %v after %v", err, time.Since(start))
		}
	})
}

// TestWaitingIsBounded fills the room of those who wait.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "1000000")
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		for a.Take(ctx) == nil && a.waiting == 0 { // the burst
			if !a.free(time.Now()).After(time.Now()) {
				continue
			}
			break
		}
		for range mostWaiting {
			go func() { _ = a.Take(ctx) }()
		}
		synctest.Wait()
		if err := a.Take(ctx); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more than %d: %v", mostWaiting, err)
		}
	})
}

// TestAFullQueueHasRoomForOthers has one namespace take all the places of those who
// wait.
func TestAFullQueueHasRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "6")
		if err := a.Take(in(t, "crowd", time.Minute)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(budget.Of(t.Context(), "crowd"), 100*time.Hour)
		defer synctest.Wait()
		defer cancel()
		refused := make(chan error, mostWaiting)
		for range mostWaiting {
			go func() { refused <- a.Take(ctx) }()
		}
		synctest.Wait()
		if err := a.Take(ctx); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more of the crowd: %v", err)
		}
		start := time.Now()
		if err := a.Take(in(t, "few", 2*time.Minute)); err != nil || time.Since(start) > 20*time.Second {
			t.Errorf("another namespace: %v after %v", err, time.Since(start))
		}
		gaveWay := 0
		for len(refused) > 0 {
			if err := <-refused; status.Code(err) == codes.ResourceExhausted {
				gaveWay++
			}
		}
		if gaveWay != 1 {
			t.Errorf("%d of the crowd gave way, want one", gaveWay)
		}
	})
}

// TestAThrottledAccountHasTurns has a namespace ask for ten times what a service
// takes, without a budget of the flag: another one is read all the same, and the
// service is used.
func TestAThrottledAccountHasTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			limit   = 60 // a minute of the service, of which six at once
			every   = 10 * time.Second
			learned = 10 * time.Minute
			whole   = 30 * time.Minute
		)
		a := account(t, "0")
		var mu sync.Mutex
		spent := time.Now()
		took := map[string]int{}
		ask := func(namespace string) bool {
			if a.Take(in(t, namespace, every)) != nil {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if spent.Before(now) {
				spent = now
			}
			if spent.Sub(now) > 5*time.Minute/limit {
				_ = a.Throttled(0, "too many")
				return false
			}
			spent = spent.Add(time.Minute / limit)
			a.Answered()
			return true
		}
		start := time.Now()
		var readers sync.WaitGroup
		read := func(namespace string, phase time.Duration) {
			readers.Go(func() {
				pass(phase)
				for at := phase; at < whole; at += every {
					if ask(namespace) && at >= learned {
						mu.Lock()
						took[namespace]++
						mu.Unlock()
					}
					if next := start.Add(at + every); time.Now().Before(next) {
						pass(time.Until(next))
					}
				}
			})
		}
		for i := range 100 {
			read("crowd", time.Duration(i)*every/100)
		}
		read("few", every/3)
		readers.Wait()
		few, service := int((whole-learned)/every), int((whole-learned)/time.Minute)*limit
		if took["few"] < few*9/10 {
			t.Errorf("%d of %d reads of the few", took["few"], few)
		}
		if all := took["crowd"] + took["few"]; all < service/2 {
			t.Errorf("%d requests where the service takes %d", all, service)
		}
	})
}

// TestLearnedBudget follows one through its life.
func TestLearnedBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "0")
		use := func(n int) { // within a minute, and as much as there is a turn for
			t.Helper()
			for range n {
				if err := a.Take(in(t, "shop", time.Minute)); err != nil {
					t.Fatal(err)
				}
				a.Answered()
			}
		}
		learned := func(when string, want int64) {
			t.Helper()
			a.mu.Lock()
			defer a.mu.Unlock()
			a.follow(time.Now())
			if a.learned != want || a.limit != want {
				t.Errorf("%s: learned %d, limit %d, want %d", when, a.learned, a.limit, want)
			}
		}
		use(200)
		learned("without a throttle", 0)
		_ = a.Throttled(0, "too many")
		_ = a.Throttled(0, "too many") // was under way
		learned("throttled", 100)
		pass(firstRest)
		use(1)
		err := a.Take(in(t, "shop", time.Second))
		const text = "the service has throttled the account, which is asked less often for that, in turns of the namespaces whose triggers share it: a turn is free within 10s; a longer pollingInterval needs fewer"
		if status.Code(err) != codes.ResourceExhausted || err.Error() != text {
			t.Errorf("error = %v", err)
		}
		use(80)
		pass(time.Minute)
		learned("after a minute of use", 110)
		pass(10 * time.Minute)
		learned("without use", 110)
		_ = a.Throttled(0, "too many")
		learned("throttled again", 55)
		for range 3 {
			pass(2 * longestRest)
			_ = a.Throttled(0, "too many")
		}
		learned("throttled again and again", leastLearned)
		setBudget(t, "12")
		pass(longestRest)
		if err := a.Take(in(t, "shop", time.Minute)); err != nil || a.limit != 12 {
			t.Errorf("limit = %d, %v: the flag's is less", a.limit, err)
		}
		setBudget(t, "0")
		pass(learnedFor)
		learned("long after", 0)
	})
}

// TestAThrottledAccountRestsAlone has one of two accounts throttled.
func TestAThrottledAccountRestsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "6")
		ctx, release := pool.Opening(t.Context())
		defer release()
		other, err := AccountOf(ctx, "another")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- a.Take(in(t, "shop", time.Minute)) }()
		synctest.Wait()
		refused := a.Throttled(42*time.Second, "429 Too Many Requests")
		const text = "the service throttles the account: 429 Too Many Requests; it is not asked again before 2000-01-01T00:00:42Z"
		if refused.Error() != text || status.Code(refused) != codes.ResourceExhausted {
			t.Fatalf("error = %v", refused)
		}
		if err := <-waited; err != refused { //nolint:errorlint // the very same
			t.Errorf("who waited got %v", err)
		}
		pass(41 * time.Second)
		if err := a.Take(t.Context()); err == nil || err.Error() != text {
			t.Errorf("asked meanwhile: %v", err)
		}
		if err := other.Take(t.Context()); err != nil {
			t.Errorf("another account: %v", err)
		}
		pass(time.Second)
		if err := a.Take(t.Context()); err != nil {
			t.Errorf("asked afterwards: %v", err)
		}
	})
}

// TestRestsGrowAndAreBounded has a service throttle again and again.
func TestRestsGrowAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "0")
		rest := func(pause time.Duration) time.Duration {
			var refused *AccountError
			if !errors.As(a.Throttled(pause, "no"), &refused) {
				t.Fatal("no *AccountError")
			}
			rest := time.Until(refused.Until)
			pass(rest)
			return rest
		}
		for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
			if got := rest(0); got != want {
				t.Errorf("rest = %v, want %v", got, want)
			}
		}
		if got := rest(time.Hour); got != 10*time.Minute {
			t.Errorf("rest = %v of an hour", got)
		}
		a.Answered()
		if got := rest(0); got != 10*time.Second {
			t.Errorf("rest = %v after an answer", got)
		}
		// Of several requests under way the longest pause counts, once.
		first := a.Throttled(30*time.Second, "first")
		if second := a.Throttled(20*time.Second, "second"); second != first { //nolint:errorlint // the very same
			t.Errorf("a shorter pause took over: %v", second)
		}
		a.Answered()
		if err := a.Take(t.Context()); err == nil {
			t.Error("an answer that was under way ended the rest")
		}
	})
}

// answering answers all requests with one status.
type answering int

func (s answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: int(s), Body: http.NoBody}, nil
}

// TestRefusedLoginsSayNothingOfAnAccount: whoever knows its name, and has no login to
// it, neither ends that its rests grow nor has it learn that it answers.
func TestRefusedLoginsSayNothingOfAnAccount(t *testing.T) {
	for answered, grows := range map[int]bool{http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusOK: false, http.StatusNotFound: false} {
		synctest.Test(t, func(t *testing.T) {
			a := account(t, "0")
			trip := accounted{account: a, throttled: ThrottledHTTP, RoundTripper: answering(answered)}
			var rests []time.Duration
			for range 2 {
				var refused *AccountError
				if !errors.As(a.Throttled(0, "no"), &refused) {
					t.Fatal("no *AccountError")
				}
				rests = append(rests, time.Until(refused.Until))
				pass(time.Minute)
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://source/", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := trip.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
			}
			if got := rests[1] > rests[0]; got != grows {
				t.Errorf("%d: rests of %v", answered, rests)
			}
		})
	}
}

// TestStrangersHaveNoTurnsOfAnAccount: who names an account without being let in takes
// no turn of those who are, and has no say in how long it rests and what it answers.
func TestStrangersHaveNoTurnsOfAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		setBudget(t, "60")
		ctx, release := pool.Opening(t.Context())
		defer release()
		number := accounts.Add(1)
		of := func(login string) *Account {
			a, err := NamedAccountOf(ctx, []any{t.Name(), number}, login)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		ask := func(a *Account, answered int) error {
			request, err := http.NewRequestWithContext(in(t, "shop", time.Second), http.MethodGet, "http://source/", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := accounted{account: a, throttled: ThrottledHTTP, RoundTripper: answering(answered)}.RoundTrip(request)
			if err == nil {
				response.Body.Close()
			}
			return err
		}
		mine, again := of("mine"), of("mine")
		if mine.ledger != of("other").ledger || mine != again {
			t.Fatal("an account for each login")
		}
		if err := ask(mine, http.StatusOK); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for i := range 300 {
			if ask(of(fmt.Sprint("none ", i)), []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusNotFound}[i%3]) != nil {
				refused++
			}
		}
		if refused < 200 {
			t.Errorf("%d of 300 requests of strangers had no turn", refused)
		}
		if err := ask(mine, http.StatusOK); err != nil {
			t.Errorf("who was let in: %v", err)
		}
		_ = ask(of("none 0"), http.StatusTooManyRequests)
		pass(time.Second)
		if err := ask(mine, http.StatusOK); err != nil {
			t.Errorf("who was let in, when a stranger is throttled: %v", err)
		}
		pass(2 * time.Minute)
		_ = ask(mine, http.StatusTooManyRequests)
		if ask(of("next"), http.StatusOK) == nil {
			t.Error("a stranger is let in while the account rests")
		}
		pass(2 * time.Minute)
		if err := ask(mine, http.StatusForbidden); err != nil || mine.known.Load() {
			t.Errorf("who is not let in any more: %v, and counts among those who are", err)
		}
	})
}

// TestAnAccountIsRememberedWhileItRests opens the last source of one again.
func TestAnAccountIsRememberedWhileItRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := func() (*Account, func()) {
			ctx, release := pool.Opening(t.Context())
			a, err := AccountOf(ctx, t.Name())
			if err != nil {
				t.Fatal(err)
			}
			return a, release
		}
		a, release := open()
		_ = a.Throttled(time.Minute, "no")
		release()
		synctest.Wait()
		a, release = open()
		if err := a.Take(t.Context()); err == nil {
			t.Error("opening again ended the rest")
		}
		release()
		synctest.Wait()
		pass(learnedFor)
		_, release = open()
		release()
		synctest.Wait()
		ledgers.mu.Lock()
		defer ledgers.mu.Unlock()
		if ledgers.all[fingerprint.OfValue(t.Name())] != nil {
			t.Error("it is remembered for nothing")
		}
	})
}

// TestTheBudgetChangesWhileSomebodyWaits lifts it.
func TestTheBudgetChangesWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "1")
		if err := a.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- a.Take(in(t, "shop", time.Hour)) }()
		synctest.Wait()
		setBudget(t, "0")
		if err := a.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

func TestBudgetFlagIsANumber(t *testing.T) {
	for _, text := range []string{"", "-1", "ten", "1e3", "0x10", "1.5", "1000001", "10 "} {
		flags := flag.NewFlagSet("family", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		BudgetFlags(flags)
		if err := flags.Parse([]string{"--requests-per-minute=" + text}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestNoAccountHasNoBounds(t *testing.T) {
	var a *Account
	if err := a.Take(t.Context()); err != nil {
		t.Error(err)
	}
	a.Answered()
	if err := a.Throttled(time.Minute, "no"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error = %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{
			"120": 2 * time.Minute, " 5 ": 5 * time.Second, "0": 0, "99999999999999999999": 24 * time.Hour,
			"Sat, 01 Jan 2000 00:00:30 GMT": 30 * time.Second, "Fri, 31 Dec 1999 23:00:00 GMT": 0,
			"": -1, "soon": -1, "-1": -1, "1.5": -1, "１": -1,
		} {
			got, told := RetryAfter(http.Header{"Retry-After": {text}})
			if told != (want >= 0) || told && got != want {
				t.Errorf("Retry-After: %s = %v, %v, want %v", text, got, told, want)
			}
		}
		got, _ := RetryAfter(http.Header{"Retry-After": {"2"}, "X-Ms-Retry-After-Ms": {"1500"}})
		if got != 1500*time.Millisecond {
			t.Errorf("x-ms-retry-after-ms: 1500 = %v", got)
		}
		if got, _ := RetryAfter(http.Header{"X-Amz-Retry-After": {"1500"}}); got != 1500*time.Millisecond {
			t.Errorf("x-amz-retry-after: 1500 = %v", got)
		}
	})
}

// answers is a service that answers what it is told to.
type answers struct {
	status int
	header http.Header
	asked  int
}

func (s *answers) RoundTrip(request *http.Request) (*http.Response, error) {
	s.asked++
	return &http.Response{StatusCode: s.status, Header: s.header, Body: io.NopCloser(strings.NewReader("secret")), Request: request}, nil
}

// TestRequestsAreMadeOnTheAccount goes through a client of HTTP.
func TestRequestsAreMadeOnTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "0")
		service := &answers{status: 429, header: http.Header{"Retry-After": {"30"}}}
		c := newHTTPClient(service, httpProcess{timeout: time.Second}, HTTPOptions{Account: a})
		get := func() error {
			_, err := c.Get(t.Context(), "https://service.test/queue?key=hush")
			return err
		}
		const text = "GET https://service.test/queue: the service throttles the account: 429 Too Many Requests; it is not asked again before 2000-01-01T00:00:30Z"
		for range 2 {
			err := get()
			var refused *AccountError
			if err == nil || err.Error() != text || status.Code(err) != codes.ResourceExhausted || !errors.As(err, &refused) {
				t.Fatalf("error = %v", err)
			}
		}
		if service.asked != 1 {
			t.Errorf("asked %d times", service.asked)
		}
		pass(30 * time.Second)
		service.status, service.header = 503, nil // out of order, not throttled
		if err := get(); status.Code(err) != codes.Unavailable {
			t.Errorf("error = %v", err)
		}
		service.header = http.Header{"Retry-After": {"7"}}
		pass(2 * time.Second) // for the next turn
		if err := get(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("error = %v", err)
		}
		pass(7 * time.Second)
		service.status = 200
		if err := get(); err != nil {
			t.Error(err)
		}
	})
}

// TestCallsAreMadeOnTheAccount goes through the interceptor for gRPC.
func TestCallsAreMadeOnTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "0")
		var answer error
		asked := 0
		call := func() error {
			return a.Unary(t.Context(), "/Service/Get", nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
				asked++
				return answer
			})
		}
		quota, err := status.New(codes.ResourceExhausted, "Quota exceeded for hush").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(15 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		answer = quota.Err()
		for range 2 {
			const text = "the service throttles the account: it has run out of quota (ResourceExhausted); it is not asked again before 2000-01-01T00:00:15Z"
			if err := call(); err == nil || err.Error() != text || asked != 1 {
				t.Fatalf("error = %v after %d calls", err, asked)
			}
		}
		pass(15 * time.Second)
		answer = status.Error(codes.ResourceExhausted, "grpc: received message larger than max")
		if err := call(); err != answer { //nolint:errorlint // the very same
			t.Errorf("error = %v", err)
		}
		pass(time.Minute)
		answer = nil
		if err := call(); err != nil || asked != 3 {
			t.Errorf("error = %v after %d calls", err, asked)
		}
		// What the service says is wrong about a call counts as the call of one that
		// was not throttled; silence does not, nor that somebody is not let in.
		for code, counts := range map[codes.Code]bool{codes.NotFound: true, codes.PermissionDenied: false, codes.Unauthenticated: false, codes.Unavailable: false, codes.DeadlineExceeded: false, codes.ResourceExhausted: false} {
			pass(5 * time.Second)
			before := a.answered
			answer = status.Error(code, "grpc: hush")
			if err := call(); err != answer || (a.answered > before) != counts { //nolint:errorlint // the very same
				t.Errorf("%v: %v, it counts: %v", code, err, a.answered > before)
			}
		}
	})
}

// TestWhoseBudgetIsUsedUp tells the refusal of a turn, which is that of the
// namespaces that a request is for, from that of an account that rests for all.
func TestWhoseBudgetIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := account(t, "1")
		if err := a.Take(in(t, "crowd", time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := a.Take(in(t, "crowd", time.Second)); !failure.OutOfBudget(fmt.Errorf("queue: %w", err)) {
			t.Errorf("a turn that comes too late: %v", err)
		}
		if err := a.Throttled(time.Minute, "too many"); failure.OutOfBudget(err) {
			t.Errorf("an account that rests: %v", err)
		}
		if err := a.Take(in(t, "shop", time.Second)); err == nil || failure.OutOfBudget(err) {
			t.Errorf("while it rests: %v", err)
		}
	})
}
