package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// maxAnswer is how much of an answer is read unless HTTPOptions says more. A
// listing of ten thousand queues stays below it.
const maxAnswer = 16 << 20

// HTTPOptions is what a trigger may choose about its requests. The zero value
// is a client without credentials and with the process's defaults.
type HTTPOptions struct {
	// TLS has the authorities and the client certificate.
	TLS TLSParams
	// UnsafeSSL turns verification of the server off.
	UnsafeSSL bool
	// Timeout bounds one request with its answer; 0 is the process's default,
	// KEDA_HTTP_DEFAULT_TIMEOUT in milliseconds or 3 s.
	Timeout time.Duration
	// Authorize adds credentials to a request, or is nil. It is called for each
	// request, and again after a redirect only where the credentials belong.
	Authorize func(*http.Request) error
	// Refused gets an answer other than 2xx before it is dropped, with the request as
	// Authorize left it, or is nil. What the server wrote is not to be kept.
	Refused func(*http.Response)
	// MaxAnswer bounds the body that is kept, in bytes; 0 is 16 MiB.
	MaxAnswer int64
	// MaxValues bounds the values of JSON that a library is given in one answer, of
	// which it makes many times their bytes; 0 is any number.
	MaxValues int64
	// Account is whom the service counts the requests for, or nil. Do fails with an
	// *AccountError when there are too many of them.
	Account *Account
	// Throttled says what an answer tells about that; nil is ThrottledHTTP.
	Throttled func(status int, header http.Header) *Throttling
}

// HTTPClient asks HTTP servers. All clients of the process with equal TLS
// parameters share their connections.
type HTTPClient struct {
	client    *http.Client
	maxAnswer int64
	refused   func(*http.Response)
	account   *Account
	throttled func(int, http.Header) *Throttling
}

// HTTP returns a client for a source. It is called from Open with Open's ctx;
// the connections are released when the source is closed.
func HTTP(ctx context.Context, o HTTPOptions) (*HTTPClient, error) {
	process, err := processHTTP(os.Getenv)
	if err != nil {
		return nil, err
	}
	key := transportKey{tls: o.TLS.Fingerprint(), unsafe: o.UnsafeSSL}
	pooled, err := pool.Shared(ctx, key, func(ctx context.Context) (*Connections, error) {
		config, err := o.TLS.Config(o.UnsafeSSL)
		if err != nil {
			return nil, err
		}
		// outbound.Guard has seen the host, and this may be a proxy. Connections serve
		// many sources, so that each answer is bounded by itself.
		return newTransport(DialerOf(ctx).forMany().DialResolved, config, process), nil
	})
	if err != nil {
		return nil, err
	}
	own := noted{gated{pooled.Transport, requests()}, DialerOf(ctx)}
	return newHTTPClient(outbound.Guard(own, DialerOf(ctx).checkRequest), process, o), nil
}

// noted has the reads of a source noted by the hosts that it asks: connections
// are everybody's.
type noted struct {
	http.RoundTripper
	dialer *Dialer
}

// RoundTrip implements http.RoundTripper.
func (n noted) RoundTrip(request *http.Request) (*http.Response, error) {
	if _, err := n.dialer.admit(request.Context(), request.URL.Host); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	return n.RoundTripper.RoundTrip(request)
}

// HTTPForLibrary returns a client for a library of a source's vendor that
// makes its own requests and judges their answers. It is called from Open with
// Open's ctx, and shares its connections with HTTP. A request lasts as long as
// its ctx and the library let it; only a Timeout of o ends it sooner. A large answer
// is the library's turn at the processors, see Understand, from the first byte that
// it reads until it closes it: meanwhile nothing else is waited for. What the
// server writes with a refusal reaches the library: to keep it out of errors is
// up to the caller.
func HTTPForLibrary(ctx context.Context, o HTTPOptions) (*http.Client, error) {
	client, err := HTTP(ctx, o)
	if err != nil {
		return nil, err
	}
	plain := *client.client
	plain.Timeout = o.Timeout
	plain.Transport = wholeAnswers{base: plain.Transport, most: client.maxAnswer, values: o.MaxValues}
	follow := plain.CheckRedirect
	plain.CheckRedirect = func(next *http.Request, before []*http.Request) error {
		switch next.Response.StatusCode {
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			return follow(next, before)
		default:
			return outbound.Stay(next, before) // the others turn a signed POST into a GET
		}
	}
	return &plain, nil
}

func newHTTPClient(base http.RoundTripper, process httpProcess, o HTTPOptions) *HTTPClient {
	if o.Timeout <= 0 {
		o.Timeout = process.timeout
	}
	if o.MaxAnswer <= 0 {
		o.MaxAnswer = maxAnswer
	}
	if o.Throttled == nil {
		o.Throttled = ThrottledHTTP
	}
	base = counted{base}
	if o.Account != nil {
		base = accounted{base, o.Account, o.Throttled}
	}
	return &HTTPClient{
		client:    outbound.Client(outbound.Authorize(base, o.Authorize), outbound.Follow(o.TLS.Cert != ""), o.Timeout),
		maxAnswer: o.MaxAnswer, refused: o.Refused, account: o.Account, throttled: o.Throttled,
	}
}

// Timeout is how long a request with its answer may take.
func (c *HTTPClient) Timeout() time.Duration { return c.client.Timeout }

// HTTPAnswer is a successful answer.
type HTTPAnswer struct {
	Status int // 2xx
	Header http.Header
	Body   []byte
}

// Get asks for address and returns the body of a 2xx answer.
func (c *HTTPClient) Get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, words.Errorf(codes.InvalidArgument, "the address is not a URL") // it may hold a password
	}
	answer, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// Do sends a request. An answer other than 2xx is an *HTTPError; what the
// server wrote with it is dropped unread, since it may repeat secrets. A server
// that does not answer is Unavailable or DeadlineExceeded.
func (c *HTTPClient) Do(request *http.Request) (*HTTPAnswer, error) {
	name := requestName(request)
	ctx, end := context.WithCancelCause(request.Context())
	defer end(nil)
	response, err := c.client.Do(request.WithContext(ctx))
	if err != nil {
		return nil, transportError(name, err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		outbound.Drain(response.Body)
		if c.refused != nil {
			c.refused(response)
		}
		return nil, c.refusal(name, response)
	}
	body, err := budget.ReadAll(ctx, end, response.Body, response.ContentLength, c.maxAnswer)
	if errors.Is(err, outbound.ErrTooLarge) {
		return nil, tooLarge(name, c.maxAnswer)
	}
	if err != nil {
		return nil, transportError(name, err)
	}
	return &HTTPAnswer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// refusal is the error of an answer other than 2xx.
func (c *HTTPClient) refusal(name string, response *http.Response) error {
	if c.account != nil {
		if t := c.throttled(response.StatusCode, response.Header); t != nil {
			return words.Errorf(codes.ResourceExhausted, "%s: %w", name, c.account.Throttled(t.Pause, t.Said))
		}
	}
	return &HTTPError{Request: name, Status: response.StatusCode}
}

// HTTPError is an answer other than 2xx.
type HTTPError struct {
	Request string // method and address, without user, password and query
	Status  int
}

func (e *HTTPError) Error() string { return e.Unwrap().Error() }

// Unwrap tells our words from the address.
func (e *HTTPError) Unwrap() error {
	code := outcome.Code(e.Status)
	return words.Errorf(code, "%s: %w", e.Request, words.Plain(code, outcome.Text(e.Status)))
}

// NotFound reports whether err is that the server which was asked said that there
// is no such thing, and not whoever gives tokens for it.
func NotFound(err error) bool {
	var refused *HTTPError
	return errors.As(err, &refused) && refused.Status == http.StatusNotFound
}

// GRPCStatus gives the error its code.
func (e *HTTPError) GRPCStatus() *status.Status {
	return status.New(outcome.Code(e.Status), e.Error())
}

// requestName names a request without what may be secret in its address.
func requestName(request *http.Request) string {
	return request.Method + " " + publicURL(request.URL)
}

func publicURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// transportError gives a failure its code, without the address that net/http
// puts in front.
func transportError(name string, err error) error {
	var notMade *AccountError
	if errors.As(err, &notMade) {
		return words.Errorf(codes.ResourceExhausted, "%s: %w", name, notMade)
	}
	if own := outcome.Own(err); own != nil {
		return words.Errorf(status.Code(own), "%s: %w", name, own)
	}
	code, cause := outcome.Unanswered(err)
	return words.Errorf(code, "%s: %s", name, cause)
}

// transportKey tells one pool of connections from another.
type transportKey struct {
	tls    string
	unsafe bool
}

// Connections is a pool of connections that ends with its last user.
type Connections struct {
	*http.Transport
	// Timeout is that of a request with its answer, as the process says.
	Timeout time.Duration
}

// Close closes the connections. Its last user is gone, so all of them rest.
func (t *Connections) Close() error {
	t.CloseIdleConnections()
	return nil
}

// Part says that the connections belong to the servers that are asked.
func (t *Connections) Part() {}

// mostIdle is how many connections rest at once, to all servers together.
const mostIdle = 2000

func newTransport(dial outbound.DialFunc, config *tls.Config, process httpProcess) *Connections {
	connections := outbound.NewTransport(dial, config)
	connections.DisableKeepAlives = process.noKeepAlive
	connections.MaxIdleConns = mostIdle
	connections.MaxIdleConnsPerHost = pool.ReadsPerEndpoint // fewer would be dialled again and again
	return &Connections{connections, process.timeout}
}

// PlainTransport makes a pool of connections with what the process says
// about TLS and HTTP, and nothing of a trigger.
func PlainTransport(dial outbound.DialFunc) (*Connections, error) {
	process, err := processHTTP(os.Getenv)
	if err != nil {
		return nil, err
	}
	config, err := TLSParams{}.Config(false)
	if err != nil {
		return nil, err
	}
	return newTransport(dial, config, process), nil
}

// httpProcess is what the process's environment says about HTTP. The names are
// KEDA's.
type httpProcess struct {
	timeout     time.Duration
	noKeepAlive bool
}

func processHTTP(getenv func(string) string) (httpProcess, error) {
	p := httpProcess{timeout: 3 * time.Second}
	if text := getenv("KEDA_HTTP_DEFAULT_TIMEOUT"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return p, fmt.Errorf("KEDA_HTTP_DEFAULT_TIMEOUT: %q is not a number of milliseconds", text)
		}
		p.timeout = time.Duration(ms) * time.Millisecond
		if ms <= 0 {
			p.timeout = 300 * time.Millisecond
		}
	}
	if text := getenv("KEDA_HTTP_DISABLE_KEEP_ALIVE"); text != "" {
		off, err := strconv.ParseBool(text)
		if err != nil {
			return p, fmt.Errorf("KEDA_HTTP_DISABLE_KEEP_ALIVE: %q is neither true nor false", text)
		}
		p.noKeepAlive = off
	}
	return p, nil
}
