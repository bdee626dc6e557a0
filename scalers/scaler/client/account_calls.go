package client

import (
	"context"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
)

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
		a.account.letIn(false)
	case response.StatusCode < http.StatusMultipleChoices:
		a.account.letIn(true)
		a.account.Answered()
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
// about it: it counts that call, too. That it lets somebody not in says nothing about
// how much it answers.
func AnsweredGRPC(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unknown, codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted:
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
