package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// What a server may make the process read beside the body of an answer that is
// wanted.
const (
	mostHeader  = 64 << 10
	mostDrained = 64 << 10 // beyond it a connection is closed instead of used again
)

// DialFunc is Dial, or what stands for it.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// http1 is the only protocol that is spoken. Over HTTP/2 answers share a
// connection and wait in the process's own memory, a part of each, until they are
// read: hundreds of servers that answer at once would take all of it, and some
// large answers that wait for their turn would hold up all others of the same
// server. Over HTTP/1 what is not read waits with who has sent it.
var http1 = func() *http.Protocols {
	only := new(http.Protocols)
	only.SetHTTP1(true)
	return only
}()

// NewTransport makes a pool of connections. dial gets addresses of servers, or
// of the proxy that the environment names: who uses the pool goes through Guard.
func NewTransport(dial DialFunc, config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    10 * time.Second,
		Protocols:              http1,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: mostHeader,
	}
}

// Client returns a client that asks over base and redirects as follow says:
// Stay, or Follow. timeout bounds a request with its answer, 0 leaves it to
// the request's context.
func Client(base http.RoundTripper, follow func(*http.Request, []*http.Request) error, timeout time.Duration) *http.Client {
	return &http.Client{Transport: base, CheckRedirect: follow, Timeout: timeout}
}

// ReadBody reads an answer of at most so many bytes.
func ReadBody(body io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(body, most+1))
	if err == nil && int64(len(content)) > most {
		return nil, ErrTooLarge
	}
	return content, err
}

// Drain reads what nobody wants, so that the connection serves again, if little
// is left of it.
func Drain(body io.Reader) { _, _ = io.Copy(io.Discard, io.LimitReader(body, mostDrained)) }

// Unanswered says why an exchange brought no answer that is HTTP, in words that
// hold nothing of what the other side wrote: it may be of a server that the
// user cannot ask. net/http quotes it.
func Unanswered(err error) string {
	var redirected RedirectError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &redirected):
		return redirected.Error()
	case errors.As(err, &record), strings.HasSuffix(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the server does not speak TLS"
	case strings.Contains(err.Error(), "unsupported protocol scheme"):
		return "the address is not that of an HTTP server"
	}
	return "the answer is not HTTP, or the connection broke"
}

// Sender sends requests to addresses that a user chose, of whose answers
// nothing but the status is of interest.
type Sender struct{ client *http.Client }

// NewSender returns a sender that keeps few connections.
func NewSender() *Sender {
	pool := NewTransport(DialChecked, nil)
	pool.MaxIdleConns, pool.MaxIdleConnsPerHost, pool.IdleConnTimeout = 100, 1, 30*time.Second
	pool.DisableCompression = true
	// A redirect would lead a request to where nobody sent it.
	return &Sender{Client(Guard(pool, CheckRequest), Stay, 0)}
}

// Close closes the connections that rest.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send returns the status of the answer.
func (s *Sender) Send(request *http.Request) (status int, err error) {
	response, err := s.client.Do(request)
	if err != nil {
		return 0, sendError(err)
	}
	defer response.Body.Close()
	Drain(response.Body)
	return response.StatusCode, nil
}

// sendError keeps what this process knows by itself.
func sendError(err error) error {
	var address AddressError
	var lookup *net.DNSError
	var dial *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &address):
		return address
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errors.New("no answer in time")
	case errors.As(err, &lookup):
		return lookup
	case errors.As(err, &certificate):
		return errors.New("its certificate is not valid or not trusted")
	case errors.As(err, &dial) && dial.Op == "dial":
		return dial
	}
	return errors.New(Unanswered(err))
}
