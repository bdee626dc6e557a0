package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// wholeAnswers reads answers for a library that would do so without a bound.
type wholeAnswers struct {
	base   http.RoundTripper
	most   int64
	values int64 // 0 for any number
}

// RoundTrip implements http.RoundTripper. The answer's share of the memory, and the
// turn in which it is understood, are given back when the library closes it, at the
// latest when the request's time is over.
func (w wholeAnswers) RoundTrip(request *http.Request) (*http.Response, error) {
	held, release := Held(request.Context())
	ctx, end := context.WithCancelCause(held)
	defer end(nil)
	response, err := w.base.RoundTrip(request.WithContext(ctx))
	if err != nil {
		release()
		return nil, err
	}
	defer response.Body.Close()
	body, err := budget.ReadAll(ctx, end, response.Body, response.ContentLength, w.most)
	if err != nil {
		release()
		if errors.Is(err, outbound.ErrTooLarge) {
			err = tooLarge(requestName(request), w.most)
		}
		return nil, err
	}
	if w.values > 0 && outbound.Values(body) > w.values {
		release()
		return nil, tooMany(requestName(request), w.values)
	}
	h := &heldBody{held: held, body: body, release: release}
	h.stop = context.AfterFunc(request.Context(), h.over)
	response.Request = request
	response.Body = h
	return response, nil
}

// heldBody is an answer that a library reads. From the first byte until it is closed
// it is the library's turn.
type heldBody struct {
	held    context.Context //nolint:containedctx // that of the answer's share
	release func()
	stop    func() bool

	mu   sync.Mutex
	body []byte // what is left to be read
	done func() // of the turn, nil while there is none
	left bool
}

// Read implements io.Reader. It fails once others have to have the share.
func (b *heldBody) Read(p []byte) (int, error) {
	if err := budget.MadeWay(b.held); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done == nil && !b.left {
		done, err := understanding(b.held, len(b.body))
		if err != nil {
			return 0, err
		}
		b.done = done
	}
	if len(b.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.body)
	b.body = b.body[n:]
	return n, nil
}

// Close gives the share back, and the turn.
func (b *heldBody) Close() error {
	b.stop()
	b.over()
	return nil
}

func (b *heldBody) over() {
	b.release() // ends who waits for the turn
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done != nil && !b.left {
		b.done()
	}
	b.left = true
}

func tooLarge(name string, most int64) error {
	return TooLarge(words.Errorf(codes.Unavailable, "%s: the answer is larger than %d bytes", name, most))
}

func tooMany(name string, most int64) error {
	return TooLarge(words.Errorf(codes.Unavailable, "%s: the answer has more than %d values", name, most))
}

// TooLarge is err, by its words and its code, about an answer that is more than may
// be. Of a batch it is nobody's: the members are asked again by parts, until it is
// found whose answer it was.
func TooLarge(err error) error { return words.Being(err, outbound.ErrTooLarge) }

// Held returns a context whose answers keep their share of the memory, see
// --answer-memory, until release is called: when nothing is left of them and of
// what was made of them. It is for one answer, since who holds a share must not
// wait for another, and the context ends when others have to have the share.
// Without it an answer has its share while it arrives.
func Held(ctx context.Context) (held context.Context, release func()) { return budget.Hold(ctx) }
