package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// What a receiver may make the process read.
const (
	mostHeader = 64 << 10
	mostBody   = 4 << 10 // beyond it the connection is closed instead of used again
)

// Sender sends requests to addresses that a user chose, of whose answers
// nothing but the status is of interest.
type Sender struct{ client http.Client }

// NewSender returns a sender that keeps few connections.
func NewSender() *Sender {
	return &Sender{http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            DialChecked,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConns:           100,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: mostHeader,
			DisableCompression:     true,
		},
		// A redirect would lead a request to where nobody sent it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the connections that rest.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send returns the status of the answer. What the receiver wrote with it is
// never in an error: it may be of a server that the user cannot ask.
func (s *Sender) Send(request *http.Request) (status int, err error) {
	if err := CheckHost(request.URL.Hostname()); err != nil {
		return 0, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, sendError(err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, mostBody)
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
	return errors.New("the answer is not HTTP, or the connection broke")
}
