package scaler

import (
	"io"
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// bounded ends answers that are longer than most, in bytes after they were
// unpacked, for libraries of vendors that trust their servers.
type bounded struct {
	base http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, most: b.most, left: b.most}
	return response, nil
}

// boundedBody is the body of an answer.
type boundedBody struct {
	io.ReadCloser
	most, left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, words.Errorf(codes.Unavailable, "the answer is larger than %d bytes", b.most)
	}
	return n, err
}
