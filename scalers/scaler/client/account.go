package client

import (
	"context"
	"flag"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Account is whom a hosted service counts requests for: an organisation, a
// subscription, a project. All sources of the process with one account
//
//   - share its request budget, see [BudgetFlags]: of those who have to wait for
//     it, namespaces take turns, and within one it goes by who came first;
//   - rest together when the service throttles it, and fail with an error that
//     says so. Sources of other accounts do not notice;
//   - share from then on a budget that is learned, whatever the flags say: half of
//     what the service answered, less with each throttle, slowly more without, and
//     none once it has gone without for half an hour.
//
// A family that has accounts gives one to [HTTPOptions], or [Account.Unary] to a
// gRPC connection, in the dial of the connection that it is asked over:
//
//	account, err := client.AccountOf(ctx, []any{"datadog", p.Site, p.APIKey})
//	...
//	http, err := client.HTTP(ctx, client.HTTPOptions{Account: account})
//
// Anything else calls Take before each request and Throttled when the service
// says that they are too many. A nil Account has no bounds.
type Account struct {
	*ledger
	// strangers are all who name the account with a login that was not let in, nil
	// where the name of the account is a secret itself; known is a login that was.
	strangers *ledger
	known     atomic.Bool
	left      func()
}

// AccountOf returns the account that params tell from others. They are compared
// as those of Shared are, and only a fingerprint is kept. ctx is that of the dial
// of the connection that asks: it is given back with it.
func AccountOf(ctx context.Context, params any) (*Account, error) {
	id := fingerprint.OfValue(params)
	return pool.Shared(ctx, []string{id}, func(context.Context) (*Account, error) {
		return &Account{ledger: ledgers.take(id), left: func() { ledgers.leave(id) }}, nil
	})
}

// NamedAccountOf is AccountOf where anybody may name an account, such as that of a
// host. Whoever asks with a login that the service did not let in has no turns of those
// whom it did, and says nothing of what the account answers: that is of all of them.
func NamedAccountOf(ctx context.Context, params, login any) (*Account, error) {
	id := fingerprint.OfValue(params)
	return pool.Shared(ctx, []string{id, fingerprint.OfValue(login)}, func(context.Context) (*Account, error) {
		strangers := id + " strangers"
		return &Account{ledger: ledgers.take(id), strangers: ledgers.take(strangers), left: func() {
			ledgers.leave(id)
			ledgers.leave(strangers)
		}}, nil
	})
}

// at is whose turns those of the login are.
func (a *Account) at() *ledger {
	if a.strangers != nil && !a.known.Load() {
		return a.strangers
	}
	return a.ledger
}

// Close is for the pool.
func (a *Account) Close() error {
	a.left()
	return nil
}

// Cost says that an account is next to nothing beside a connection. What there is
// of them counts for the namespaces that use them.
func (a *Account) Cost() int { return 1 << 10 }

// requestsPerMinute is the flag, 0 for none.
var requestsPerMinute atomic.Int64

// mostPerMinute is the most that the flag may say.
const mostPerMinute = 1_000_000

// BudgetFlags adds the flag on how much an account may be asked, for a family
// that has accounts; scaler.WithRequestBudget calls it.
func BudgetFlags(flags *flag.FlagSet) {
	flags.Func("requests-per-minute", "how many requests one account of a hosted service may get within a minute from this process; triggers share them fairly, and one whose turn does not come in time says so (default any number)",
		func(text string) error {
			var n int64
			if _, err := fmt.Sscanf(text, "%d", &n); err != nil || fmt.Sprint(n) != text || n < 0 || n > mostPerMinute {
				return fmt.Errorf("must be a number from 0, for any number of requests, to %d", mostPerMinute)
			}
			requestsPerMinute.Store(n)
			return nil
		})
}

// AccountError is the failure of a request that was not made, or refused, because
// its account has had enough of them.
type AccountError struct {
	err error
	// Until is when the account may be asked again, as far as that is known.
	Until time.Time
	// usedUp is true where it was the turn of the namespace that comes too late.
	usedUp bool
}

// OutOfBudget is true where the turn of the namespaces that it was for comes too
// late. That of others may not; an account that rests does so for all.
func (e *AccountError) OutOfBudget() bool { return e.usedUp }

func (e *AccountError) Error() string { return e.err.Error() }

// Unwrap tells our words from those of the service.
func (e *AccountError) Unwrap() error { return e.err }

// GRPCStatus gives the error its code.
func (e *AccountError) GRPCStatus() *status.Status { return status.Convert(e.err) }

// NonRetriable tells the clients of Azure not to try again.
func (e *AccountError) NonRetriable() {}

// RetryableError tells those of AWS.
func (e *AccountError) RetryableError() bool { return false }

// Take waits for the turn of one request, in the order that is described at
// Account. It waits for no longer than half of the time that ctx has, so that the
// answer has the other half; a turn that would come later is refused at once with
// an *AccountError, and so is any while the service throttles the account.
func (a *Account) Take(ctx context.Context) error {
	if a == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.strangers != nil && !a.known.Load() {
		if err := a.rests(); err != nil {
			return err
		}
	}
	return a.at().take(ctx)
}

// Throttled notes that the service has refused a request because there were too
// many of them. pause is for how long it wants to be left alone, up to ten
// minutes; where it does not say, 0, that is ten seconds, and with each time in a
// row twice as long, up to a minute. said is what it answered, in words of ours.
// From then on the account has a learned budget.
//
// It returns the *AccountError that the request failed with. Whoever waits for a
// turn, or asks before the time is over, gets the same without a request.
func (a *Account) Throttled(pause time.Duration, said string) error {
	if a == nil {
		return &AccountError{err: words.Errorf(codes.ResourceExhausted, "the service throttles the account: %w", words.Plain(codes.ResourceExhausted, said))}
	}
	l := a.at()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	rests := l.resting(now) != nil
	if !rests {
		l.rest = min(max(2*l.rest, firstRest), longestRest)
	}
	if pause <= 0 {
		pause = l.rest
	}
	until := now.Add(min(pause, longestThrottled))
	if rests && until.Before(l.until.Add(time.Second)) {
		return l.throttled // several requests were under way
	}
	l.until = until
	l.throttled = &AccountError{Until: until, err: words.Errorf(codes.ResourceExhausted, "the service throttles the account: %w; it is not asked again before %s",
		words.Plain(codes.ResourceExhausted, said), words.Plain(codes.ResourceExhausted, until.UTC().Format(time.RFC3339)))}
	for _, lane := range l.lanes {
		for _, t := range lane.waiting {
			t.granted <- l.throttled
		}
	}
	l.lanes, l.waiting = nil, 0
	l.halve(now)
	l.grant(now)
	return l.throttled
}

// Answered notes that a request was not throttled.
func (a *Account) Answered() {
	if a == nil {
		return
	}
	l := a.at()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.follow(now)
	l.answered++
	if l.resting(now) == nil {
		l.rest, l.throttled = 0, nil
	}
}

// letIn notes whether the service let the login in.
func (a *Account) letIn(known bool) { a.known.Store(known) }
