// Package forward speaks HTTP with a port of a Pod, by way of the API server and
// with the rights of whoever asks, as kubectl port-forward does. Unlike that it
// opens no port of this machine.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// mostAnswer is how long an answer may be.
	mostAnswer = 16 << 20
	// mostFailure is how much is read of why a port cannot be reached.
	mostFailure = 1 << 10
	// failureTime is how long after the end of an answer its reason may come.
	failureTime = time.Second
	// answerTime is how long an answer may take.
	answerTime = 30 * time.Second
)

// Pod is a port of a Pod.
type Pod struct {
	Namespace, Name string
	Port            int32
	// Dialer reaches the Pod.
	Dialer httpstream.Dialer
}

// To returns the way to a port of a Pod.
func To(config *rest.Config, namespace, name string, port int32) (*Pod, error) {
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	address := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	//dials:through the transport that client-go makes for the user's own API server
	dialer := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, address)
	return &Pod{Namespace: namespace, Name: name, Port: port, Dialer: dialer}, nil
}

// Get asks for a path and returns the answer, if it is one of success.
func (p *Pod) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	//dials:through the stream that the API server forwards
	transport := &http.Transport{DisableKeepAlives: true, DialContext: p.dial}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("port %d of Pod %s/%s: %w", p.Port, p.Namespace, p.Name, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("Pod %s/%s: %w", p.Namespace, p.Name, err)
	case len(body) > mostAnswer:
		return nil, fmt.Errorf("Pod %s/%s: the answer is longer than %d bytes", p.Namespace, p.Name, mostAnswer)
	case response.StatusCode != http.StatusOK:
		return nil, NewStatusError(response.StatusCode, fmt.Sprintf("Pod %s/%s: %s: %.200s", p.Namespace, p.Name, response.Status, body))
	}
	return body, nil
}

// StatusError is an answer that is not one of success.
type StatusError struct {
	Code int
	text string
}

// NewStatusError returns one with a code and a text.
func NewStatusError(code int, text string) *StatusError { return &StatusError{code, text} }

func (e *StatusError) Error() string { return e.text }

// Dial opens a connection to the port. Whoever has it closes it.
func (p *Pod) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.dial(ctx, "", "")
}

// dial opens a connection to the port.
func (p *Pod) dial(context.Context, string, string) (net.Conn, error) {
	connection, _, err := p.Dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	header.Set(corev1.PortHeader, strconv.Itoa(int(p.Port)))
	header.Set(corev1.PortForwardRequestIDHeader, "0")
	failure, err := connection.CreateStream(header)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	err = failure.Close() // nothing is written to it
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, failed := connection.CreateStream(header)
	if err := errors.Join(err, failed); err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	c := &conn{Stream: data, connection: connection, failed: make(chan struct{})}
	go c.hear(failure)
	return c, nil
}

// conn is one connection to a port.
type conn struct {
	httpstream.Stream
	connection httpstream.Connection

	failed chan struct{} // closed when no failure comes any more
	why    error
	once   sync.Once
}

// hear waits for why the port cannot be reached, until the connection ends.
func (c *conn) hear(failure io.Reader) {
	defer close(c.failed)
	text, _ := io.ReadAll(io.LimitReader(failure, mostFailure)) // what there is of it
	if len(text) > 0 {
		c.why = errors.New(string(text))
		_ = c.Close() // whoever reads is told why
	}
}

// Read reads what the Pod says, or why it says nothing.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if n == 0 && err != nil {
		err = c.reason(err)
	}
	return n, err
}

// Write has the Pod told something, or says why it hears nothing.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	if err != nil {
		err = c.reason(err)
	}
	return n, err
}

// reason is why the port cannot be reached, or err where nobody says.
func (c *conn) reason(err error) error {
	select {
	case <-c.failed:
	case <-time.After(failureTime): // nobody says why
	}
	_ = c.Close() // ends the wait below
	if <-c.failed; c.why != nil {
		return c.why
	}
	return err
}

// Close ends the connection, and that to the API server with it.
func (c *conn) Close() (err error) {
	c.once.Do(func() { err = c.connection.Close() })
	return err
}

// The deadlines are the context's: the transport closes what takes too long.

func (c *conn) LocalAddr() net.Addr              { return address{} }
func (c *conn) RemoteAddr() net.Addr             { return address{} }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// address is of who is reached by the API server.
type address struct{}

func (address) Network() string { return "pod" }
func (address) String() string  { return "pod" }
