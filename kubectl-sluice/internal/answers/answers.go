// Package answers bounds what is read of an API server at once: objects are as
// large as whoever made them wanted, up to what it lets them be.
package answers

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"k8s.io/client-go/rest"
)

// most is what one answer may have, in bytes. A page of large objects has more,
// one object never.
const most = 16 << 20

// ErrLarge is an answer that has more: a smaller page is to be asked for.
var ErrLarge = errors.New("the API server's answer has more than 16 MiB")

// Bound has all requests by a configuration end with ErrLarge where the answer is
// too large. Nothing can be watched by it.
func Bound(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return transport{next} })
}

type transport struct{ next http.RoundTripper }

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil || response.StatusCode == http.StatusSwitchingProtocols {
		return response, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, err
	}
	if len(text) > most {
		return nil, ErrLarge
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	return response, nil
}
