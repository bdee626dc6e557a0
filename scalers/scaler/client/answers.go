package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// wholeAnswers reads answers for a library that would do so without a bound.
type wholeAnswers struct {
	base http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper. The answer's share of the memory is
// given back when the library closes it, at the latest when the request's time
// is over.
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
	stop := context.AfterFunc(request.Context(), release)
	response.Request = request
	response.Body = heldBody{held, bytes.NewReader(body), func() { stop(); release() }}
	return response, nil
}

type heldBody struct {
	held    context.Context //nolint:containedctx // that of the answer's share
	body    io.Reader
	release func()
}

// Read implements io.Reader. It fails once others have to have the share.
func (b heldBody) Read(p []byte) (int, error) {
	if err := budget.MadeWay(b.held); err != nil {
		return 0, err
	}
	return b.body.Read(p)
}

// Close gives the share back.
func (b heldBody) Close() error {
	b.release()
	return nil
}

func tooLarge(name string, most int64) error {
	return TooLarge(words.Errorf(codes.Unavailable, "%s: the answer is larger than %d bytes", name, most))
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
