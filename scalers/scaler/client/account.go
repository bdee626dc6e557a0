package client

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
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
	left func()
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

const (
	// firstRest is for how long an account is left alone that is throttled without
	// being told for how long; it doubles with each time until a request succeeds.
	firstRest = 10 * time.Second
	// longestRest bounds that, and longestThrottled what a service may ask for.
	longestRest      = time.Minute
	longestThrottled = 10 * time.Minute
	// mostWaiting bounds who waits for one account.
	mostWaiting = 1000

	// leastLearned is what an account is asked a minute at least, however often it
	// is throttled: few enough beside a rest, and still a turn within two seconds.
	leastLearned = 30
	// leastRise is what a learned budget gains with a minute, if a tenth of it is less.
	leastRise = 5
	// learnedFor is how long a learned budget lasts without a throttle.
	learnedFor = 30 * time.Minute
)

// ledger is what is known of an account.
type ledger struct {
	mu sync.Mutex

	// limit is the budget that spent is about: that of the flag, or what was learned
	// where that is less.
	limit int64
	// learned is how many requests a minute the account is asked, because it was
	// throttled with more; 0 for any number. It was halved last at halved.
	learned int64
	halved  time.Time
	// answered counts what was not throttled since the minute began, before that of
	// the minute before it.
	minute           time.Time
	answered, before int64
	// spent is when nothing will be left of what was taken: as long as it is not
	// further away than a whole burst, there is some to be had.
	spent time.Time

	lanes   []*turns // of namespaces with somebody who waits; the first has its turn
	waiting int
	next    *time.Timer // for the next turn; nil while nobody waits

	throttled error     // why it rests; nil for an account that does not
	until     time.Time // how long
	rest      time.Duration
}

// turns are those of one namespace who wait, in order.
type turns struct {
	namespace string
	waiting   []*turn
}

// turn is one who waits. granted has the outcome once.
type turn struct{ granted chan error }

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
	return a.take(ctx)
}

func (l *ledger) take(ctx context.Context) error {
	now := time.Now()
	latest := now.Add(longestWait / 2)
	if deadline, bounded := ctx.Deadline(); bounded {
		latest = now.Add(deadline.Sub(now) / 2)
	}
	l.mu.Lock()
	l.follow(now)
	if err := l.resting(now); err != nil {
		l.mu.Unlock()
		return err
	}
	if l.limit == 0 || l.waiting == 0 && !l.free(now).After(now) {
		l.spend(now)
		l.mu.Unlock()
		return nil
	}
	namespace := budget.Namespace(ctx)
	if at := l.turnOf(namespace, now); at.After(latest) || !l.room(namespace, now) {
		defer l.mu.Unlock()
		return l.usedUp(at, now)
	}
	t := &turn{granted: make(chan error, 1)}
	l.enqueue(namespace, t)
	l.mu.Unlock()

	timer := time.NewTimer(latest.Sub(now))
	defer timer.Stop()
	select {
	case err := <-t.granted:
		return err
	case <-timer.C:
	case <-ctx.Done():
	}
	return l.leave(ctx, namespace, t)
}

// follow takes over another limit. l.mu is held.
func (l *ledger) follow(now time.Time) {
	l.learn(now)
	limit := requestsPerMinute.Load()
	if l.learned > 0 && (limit == 0 || l.learned < limit) {
		limit = l.learned
	}
	if limit == l.limit {
		return
	}
	rises := l.limit > 0 && l.limit < limit && limit == l.learned
	l.limit = limit
	if !rises { // what is learned rises without another burst
		l.spent = now
	}
	l.grant(now)
}

// learn has the learned budget rise with each minute in which it was used, and ends
// it when the account was not throttled for long. l.mu is held.
func (l *ledger) learn(now time.Time) {
	if l.learned > 0 && now.Sub(l.halved) >= learnedFor {
		l.learned = 0
	}
	passed := now.Sub(l.minute)
	if passed < time.Minute {
		return
	}
	if l.learned > 0 && 2*l.answered >= l.learned && l.resting(now) == nil {
		l.learned += max(l.learned/10, leastRise)
	}
	l.before = l.answered
	if passed >= 2*time.Minute {
		l.before = 0
	}
	l.minute, l.answered = now, 0
}

// halve has the account asked half as often as it was when it was throttled. Those
// who were under way together count once. l.mu is held.
func (l *ledger) halve(now time.Time) {
	l.follow(now)
	switch {
	case l.learned == 0:
		l.learned = l.answered + int64(float64(l.before)*max(1-float64(now.Sub(l.minute))/float64(time.Minute), 0))
		if flag := requestsPerMinute.Load(); flag > 0 {
			l.learned = min(l.learned, flag)
		}
	case now.Sub(l.halved) < firstRest:
		return
	}
	l.learned, l.halved = max(l.learned/2, leastLearned), now
	l.follow(now)
}

// learning reports whether the limit is what was learned. l.mu is held.
func (l *ledger) learning() bool { return l.learned > 0 && l.limit == l.learned }

// burst is how many requests may come at once, a tenth of the budget, or what a
// second has of it where that is all that is known to be well, and space how long it
// takes until there is another: such that no minute has more than the budget. l.mu
// is held.
func (l *ledger) burst() int64 {
	if l.learning() {
		return max(l.limit/60, 1)
	}
	return max(l.limit/10, 1)
}

func (l *ledger) space() time.Duration {
	n := time.Duration(l.limit - l.burst() + 1)
	return (time.Minute + n - 1) / n
}

// free is when the next request may be made. l.mu is held.
func (l *ledger) free(now time.Time) time.Time {
	if l.limit == 0 {
		return now
	}
	return l.spent.Add(-time.Duration(l.burst()-1) * l.space())
}

// spend takes one request. l.mu is held.
func (l *ledger) spend(now time.Time) {
	if l.limit == 0 {
		return
	}
	if l.spent.Before(now) {
		l.spent = now
	}
	l.spent = l.spent.Add(l.space())
}

// turnOf is when one more of a namespace would have its turn if nobody else came.
// l.mu is held.
func (l *ledger) turnOf(namespace string, now time.Time) time.Time {
	own := 0
	for _, lane := range l.lanes {
		if lane.namespace == namespace {
			own = len(lane.waiting)
		}
	}
	before := own
	for _, lane := range l.lanes {
		if lane.namespace != namespace {
			before += min(len(lane.waiting), own+1)
		}
	}
	first := l.free(now)
	if first.Before(now) {
		first = now
	}
	return first.Add(time.Duration(before) * l.space())
}

// room reports whether there is room for one more of a namespace that waits. When
// all is taken, whoever came last of the namespace with the most gives way, unless
// that is the one. l.mu is held.
func (l *ledger) room(namespace string, now time.Time) bool {
	if l.waiting < mostWaiting {
		return true
	}
	own, most := 0, l.lanes[0]
	for _, lane := range l.lanes {
		if lane.namespace == namespace {
			own = len(lane.waiting)
		}
		if len(lane.waiting) > len(most.waiting) {
			most = lane
		}
	}
	last := len(most.waiting) - 1
	if own >= last { // most is not shorter than own, and stays a lane
		return false
	}
	most.waiting[last].granted <- l.usedUp(l.turnOf(most.namespace, now), now)
	most.waiting[last] = nil
	most.waiting = most.waiting[:last]
	l.waiting--
	return true
}

// enqueue has a turn wait. l.mu is held.
func (l *ledger) enqueue(namespace string, t *turn) {
	l.waiting++
	l.arm()
	for _, lane := range l.lanes {
		if lane.namespace == namespace {
			lane.waiting = append(lane.waiting, t)
			return
		}
	}
	l.lanes = append(l.lanes, &turns{namespace, []*turn{t}})
}

// arm has the next turn granted when it is time. l.mu is held.
func (l *ledger) arm() {
	if l.next == nil {
		l.next = time.AfterFunc(time.Until(l.free(time.Now())), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.next = nil
			l.grant(time.Now())
		})
	}
}

// grant gives turns to whom there is a request for. l.mu is held.
func (l *ledger) grant(now time.Time) {
	for l.waiting > 0 && !l.free(now).After(now) {
		lane := l.lanes[0]
		lane.waiting[0].granted <- nil
		lane.waiting = lane.waiting[1:]
		l.lanes = l.lanes[1:]
		if len(lane.waiting) > 0 {
			l.lanes = append(l.lanes, lane)
		}
		l.waiting--
		l.spend(now)
	}
	if l.waiting > 0 {
		l.arm()
	} else if l.next != nil {
		l.next.Stop()
		l.next = nil
	}
}

// leave is for one who waited in vain, and may still have been given the turn at
// the last moment.
func (l *ledger) leave(ctx context.Context, namespace string, t *turn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case err := <-t.granted:
		return err
	default:
	}
	for at, lane := range l.lanes {
		if lane.namespace != namespace {
			continue
		}
		for i, waiting := range lane.waiting {
			if waiting == t {
				lane.waiting = append(lane.waiting[:i:i], lane.waiting[i+1:]...)
				l.waiting--
				break
			}
		}
		if len(lane.waiting) == 0 {
			l.lanes = append(l.lanes[:at:at], l.lanes[at+1:]...)
		}
		break
	}
	now := time.Now()
	l.grant(now) // stops the timer behind the last one
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return l.usedUp(l.turnOf(namespace, now), now)
}

// usedUp is the error about a turn that comes too late. It names the time in
// steps, so that the same failure has the same text. l.mu is held.
func (l *ledger) usedUp(at, now time.Time) error {
	const step = 10 * time.Second
	about := max((at.Sub(now) + step - 1).Truncate(step), step)
	if l.learning() {
		return &AccountError{usedUp: true, Until: at, err: words.Errorf(codes.ResourceExhausted,
			"the service has throttled the account, which is asked less often for that, in turns of the namespaces whose triggers share it: a turn is free within %v; a longer pollingInterval needs fewer", about)}
	}
	return &AccountError{usedUp: true, Until: at, err: words.Errorf(codes.ResourceExhausted,
		"the request budget of the account, %d a minute (--requests-per-minute), is used up by the triggers that share it: a turn is free within %v; a longer pollingInterval needs fewer",
		l.limit, about)}
}

// resting is the error of an account that is throttled, nil for another. l.mu is
// held.
func (l *ledger) resting(now time.Time) error {
	if l.throttled == nil || !now.Before(l.until) {
		return nil
	}
	return l.throttled
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
	l := a.ledger
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
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.follow(now)
	a.answered++
	if a.resting(now) == nil {
		a.rest, a.throttled = 0, nil
	}
}

// Throttling is what a service says about requests that are too many.
type Throttling struct {
	// Pause is for how long it wants to be left alone; 0 where it does not say.
	Pause time.Duration
	// Said is what it says, in words of ours. What of it comes from the service is
	// bounded and holds no secret.
	Said string
}

// ThrottledHTTP is what most services mean, for HTTPOptions: 429 Too Many
// Requests, and 503 Service Unavailable with a Retry-After. It is nil for an
// answer to a request that was not too many.
func ThrottledHTTP(answered int, header http.Header) *Throttling {
	pause, told := RetryAfter(header)
	if answered == http.StatusTooManyRequests || answered == http.StatusServiceUnavailable && told {
		return &Throttling{Pause: pause, Said: outcome.Text(answered)}
	}
	return nil
}

// RetryAfter is what the header of that name says, as seconds or as a date, and
// x-ms-retry-after-ms and retry-after-ms of Azure and x-amz-retry-after of AWS
// before it; false for an answer without, or with something else in it.
func RetryAfter(header http.Header) (time.Duration, bool) {
	for _, name := range []string{"X-Ms-Retry-After-Ms", "Retry-After-Ms", "X-Amz-Retry-After"} {
		if pause, told := seconds(header.Get(name), time.Millisecond); told {
			return pause, true
		}
	}
	text := header.Get("Retry-After")
	if pause, told := seconds(text, time.Second); told {
		return pause, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0), true
	}
	return 0, false
}

// seconds reads a whole number of units, of which so many are enough for any pause.
func seconds(text string, unit time.Duration) (time.Duration, bool) {
	const enough = 24 * time.Hour
	text = strings.TrimSpace(text)
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n := int64(0)
	for _, digit := range text {
		if n = n*10 + int64(digit-'0'); n > int64(enough/unit) {
			return enough, true
		}
	}
	return time.Duration(n) * unit, true
}

// accounted makes requests on an account. It stands below redirects and retries of
// libraries, which the service counts, too.
type accounted struct {
	http.RoundTripper
	account   *Account
	throttled func(int, http.Header) *Throttling
}

// RoundTrip implements http.RoundTripper. A throttled answer is noted and goes on
// to whoever asked: libraries judge it by themselves.
func (a accounted) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := a.account.Take(request.Context()); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	response, err := a.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	switch t := a.throttled(response.StatusCode, response.Header); {
	case t != nil:
		_ = a.account.Throttled(t.Pause, t.Said)
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusForbidden:
		// Anybody may be refused who only knows the name of an account. That says
		// nothing about how much it answers.
	default:
		a.account.Answered()
	}
	return response, nil
}

// Unary makes the calls of a connection on the account:
//
//	grpc.NewClient(target, grpc.WithUnaryInterceptor(account.Unary))
//
// ResourceExhausted means that the service throttles it; for how long is what its
// RetryInfo says. It is an *AccountError then, and so are the calls that are not
// made until the time is over.
func (a *Account) Unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if err := a.Take(ctx); err != nil {
		return err
	}
	err := call(ctx, method, request, reply, conn, options...)
	if t := ThrottledGRPC(err); t != nil {
		return a.Throttled(t.Pause, t.Said)
	}
	if AnsweredGRPC(err) {
		a.Answered()
	}
	return err
}

// AnsweredGRPC reports whether a service answered a call, if only with what is wrong
// about it: it counts that call, too.
func AnsweredGRPC(err error) bool {
	switch status.Code(err) {
	case codes.Unknown, codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted:
		return false
	default:
		return true
	}
}

// ThrottledGRPC is the ResourceExhausted of a service, nil for another error. What
// gRPC itself calls so, an answer that is too large, is none.
func ThrottledGRPC(err error) *Throttling {
	st, is := status.FromError(err)
	if err == nil || !is || st.Code() != codes.ResourceExhausted || strings.HasPrefix(st.Message(), "grpc: ") {
		return nil
	}
	t := &Throttling{Said: "it has run out of quota (ResourceExhausted)"}
	for _, detail := range st.Details() {
		if retry, is := detail.(*errdetails.RetryInfo); is && retry.GetRetryDelay().IsValid() {
			t.Pause = retry.GetRetryDelay().AsDuration()
		}
	}
	return t
}

// OfQuota reports whether a ResourceExhausted of Google speaks of a quota. Without, it
// may be about the one call: a query that takes too much of the service.
func OfQuota(err error) bool {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo, *errdetails.QuotaFailure:
			return true
		case *errdetails.ErrorInfo:
			if strings.HasSuffix(detail.GetReason(), "_LIMIT_EXCEEDED") || strings.Contains(detail.GetReason(), "QUOTA") {
				return true
			}
		}
	}
	return strings.Contains(strings.ToLower(st.Message()), "quota")
}

// registry has the ledgers of the process. An account that is reached in two ways,
// or that rests while its last source is opened again, has one all the same.
type registry struct {
	mu  sync.Mutex
	all map[string]*registered
}

type registered struct {
	ledger
	users int
}

var ledgers = &registry{all: map[string]*registered{}}

// mostResting is how many accounts are remembered that nobody uses.
const mostResting = 1000

func (r *registry) take(id string) *ledger {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.all[id]
	if one == nil {
		one = &registered{}
		r.all[id] = one
	}
	one.users++
	return &one.ledger
}

// leave forgets an account with its last user, unless it rests.
func (r *registry) leave(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, now := r.all[id], time.Now()
	if one.users--; one.users > 0 {
		return
	}
	if !one.rests(now) {
		delete(r.all, id)
		return
	}
	resting := 0
	for id, one := range r.all {
		if one.users > 0 {
			continue
		}
		if one.rests(now) && resting < mostResting {
			resting++
		} else {
			delete(r.all, id)
		}
	}
}

// rests is true while there is something to remember of an account.
func (l *ledger) rests(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resting(now) != nil || l.limit > 0 && l.spent.After(now) || l.learned > 0 && now.Sub(l.halved) < learnedFor
}
