package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// TestHalfAnswersMakeWay has servers of a tenant send half of a large answer and
// then nothing, to our own client and to that which libraries of vendors are
// given. Whoever waits for the memory that they hold gets it long before their
// deadline.
func TestHalfAnswersMakeWay(t *testing.T) {
	const size = 6 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, size)) // to nobody any more, at worst
		if r.URL.Path == "/half" {
			_ = http.NewResponseController(w).Flush() // the same
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	pool := http.DefaultTransport.(*http.Transport).Clone()
	defer pool.CloseIdleConnections()
	library := http.Client{Transport: wholeAnswers{pool, 16 << 20, 0}}
	for name, get := range map[string]func(ctx context.Context, address string) error{
		"our own client": (&HTTPClient{client: &http.Client{Transport: pool}, maxAnswer: 16 << 20}).get,
		"of a library": func(ctx context.Context, address string) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
			if err != nil {
				return err
			}
			response, err := library.Do(request)
			if err != nil {
				return err
			}
			return response.Body.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var half sync.WaitGroup
			ends := make(chan error, 6)
			for range cap(ends) {
				half.Go(func() { ends <- get(budget.Of(ctx, "enemy"), server.URL+"/half") })
			}
			for err := range ends { // others may find no room to wait in
				if strings.Contains(err.Error(), "too little of it, while others waited") {
					break
				}
			}
			if err := get(budget.Of(ctx, "mine"), server.URL+"/whole"); err != nil {
				t.Errorf("a whole one: %v", err)
			}
			if ctx.Err() != nil {
				t.Error("it took the deadline of the half answers")
			}
			cancel()
			half.Wait()
		})
	}
}

func (c *HTTPClient) get(ctx context.Context, address string) error {
	_, err := c.Get(ctx, address)
	return err
}

// wholeAtOnce answers every request with six megabytes.
type wholeAtOnce struct{}

func (wholeAtOnce) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(bytes.NewReader(make([]byte, 6<<20)))}, nil
}

// TestLibrariesMakeWay has the answers of two reads of one namespace, which nobody
// goes on to read, hold what there is for large ones: another namespace is served
// all the same, and the older of the two says why it was ended.
func TestLibrariesMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		library := http.Client{Transport: wholeAnswers{wholeAtOnce{}, 16 << 20, 0}}
		ask := func(namespace string) *http.Response {
			request, err := http.NewRequestWithContext(budget.Of(t.Context(), namespace), http.MethodGet, "http://source/", nil)
			if err != nil {
				t.Error(err)
				return &http.Response{Body: http.NoBody}
			}
			response, err := library.Do(request)
			if err != nil {
				t.Error(err)
				return &http.Response{Body: http.NoBody}
			}
			return response
		}
		first := ask("enemy")
		<-time.After(time.Millisecond)
		second := ask("enemy")
		mine := make(chan *http.Response)
		go func() { mine <- ask("mine") }() //nolint:bodyclose // who receives it closes it
		<-time.After(2 * time.Second)
		if _, err := io.Copy(io.Discard, first.Body); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the older answer: %v", err)
		}
		_ = first.Body.Close()
		if _, err := io.Copy(io.Discard, second.Body); err != nil {
			t.Errorf("the newer answer: %v", err)
		}
		_ = second.Body.Close()
		response := <-mine
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Errorf("mine: %v", err)
		}
		_ = response.Body.Close()
	})
}
