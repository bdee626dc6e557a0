package outbound

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// ErrTooLarge is about an answer that was not read to its end.
var ErrTooLarge = errors.New("the answer is too large")

// SizeError is an ErrTooLarge that says what there is too much of.
type SizeError string

func (s SizeError) Error() string { return string(s) }

// Is makes it an ErrTooLarge.
func (SizeError) Is(target error) bool { return target == ErrTooLarge }

// Limits are the most that a library may be given of what a server answers.
type Limits struct {
	// Bytes are counted after they were unpacked.
	Bytes int64
	// Values are those of a text of JSON, of which each takes many times its
	// bytes once it is parsed.
	Values int64
}

// Bound ends each answer with a SizeError where it has more than most, for
// libraries that trust their servers.
func Bound(base http.RoundTripper, most Limits) http.RoundTripper {
	return bounded{base, func() *meter { return newMeter(most) }}
}

// BoundTogether is Bound for all answers together, of a client that serves one
// purpose and ends.
func BoundTogether(base http.RoundTripper, most Limits) http.RoundTripper {
	all := newMeter(most)
	return bounded{base, func() *meter { return all }}
}

// BoundBody is Bound for one answer.
func BoundBody(body io.ReadCloser, most Limits) io.ReadCloser {
	return boundedBody{body, newMeter(most)}
}

type bounded struct {
	base  http.RoundTripper
	meter func() *meter // of the next answer
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = boundedBody{response.Body, b.meter()}
	return response, nil
}

// CloseIdleConnections is what http.Client's asks of a transport.
func (b bounded) CloseIdleConnections() { closeIdle(b.base) }

// Pool returns the pool of connections below Bound, nil where another
// http.RoundTripper is. Libraries that read the environment set its TLS.
func Pool(base http.RoundTripper) *http.Transport {
	if b, ok := base.(bounded); ok {
		base = b.base
	}
	pool, _ := base.(*http.Transport)
	return pool
}

// meter counts what was read.
type meter struct {
	most          Limits
	bytes, values atomic.Int64
}

func newMeter(most Limits) *meter { return &meter{most: most} }

// Values is how many values of JSON a text may have: what begins one counts, in
// quotes, too, so that there are rather too many than too few.
func Values(text []byte) (most int64) {
	for _, sign := range []string{",", "[", "{"} {
		most += int64(bytes.Count(text, []byte(sign)))
	}
	return most
}

func (m *meter) count(text []byte) error {
	if m.bytes.Add(int64(len(text))) > m.most.Bytes {
		return SizeError(fmt.Sprintf("the answer is larger than %d bytes", m.most.Bytes))
	}
	if m.values.Add(Values(text)) > m.most.Values {
		return SizeError(fmt.Sprintf("the answer has more than %d values", m.most.Values))
	}
	return nil
}

// boundedBody is the body of an answer.
type boundedBody struct {
	io.ReadCloser
	meter *meter
}

// Read implements io.Reader.
func (b boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if tooLarge := b.meter.count(p[:n]); tooLarge != nil {
		return 0, tooLarge
	}
	return n, err
}
