package scaler

import (
	"encoding/json"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// What a server may send beside the body of an answer.
const (
	// mostHeader is the most of the headers of an answer, with all that is said
	// before it.
	mostHeader = 128 << 10
	// mostBuffered is the most of an answer over HTTP/2 that waits to be read,
	// and of all answers of a connection four times that.
	mostBuffered = 1 << 20
	// mostValues is how many values a document has at most that is decoded at
	// once. Two bytes make one of a hundred in memory.
	mostValues = 250_000
)

// bounded ends answers that are longer than most, in bytes after they were
// unpacked. All who ask read through it, also libraries of vendors that trust
// their servers.
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

// ErrManyValues is the error about a document that would take much more memory
// than it has bytes.
var ErrManyValues = words.Errorf(codes.Unavailable, "the answer has more than %d values", mostValues)

// DecodeJSON decodes a document that a server sent, unless it is
// ErrManyValues.
func DecodeJSON(document []byte, into any) error {
	if values(document) > mostValues {
		return ErrManyValues
	}
	return json.Unmarshal(document, into)
}

// values is how many values the lists and objects of a document have, about.
func values(document []byte) (n int) {
	inText := false
	for i := 0; i < len(document); i++ {
		switch c := document[i]; {
		case c == '"':
			inText = !inText
		case inText && c == '\\':
			i++
		case !inText && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}
