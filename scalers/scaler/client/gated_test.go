package client

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// TestRequestsUnderWayAreBounded has a namespace make very many requests that are
// not answered. Few of them have a connection, whoever else asks is answered, and
// no place is lost.
func TestRequestsUnderWayAreBounded(t *testing.T) {
	const most, ofOne = 8, 4
	var inside, worst atomic.Int64
	full := make(chan struct{})
	isFull := sync.OnceFunc(func() { close(full) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answers" {
			fmt.Fprint(w, "1")
			return
		}
		n := inside.Add(1)
		defer inside.Add(-1)
		if worst.Store(max(worst.Load(), n)); n == ofOne {
			isFull()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	gate := inbound.NewGate(most, ofOne)
	c := newHTTPClient(gated{transport, gate}, httpProcess{timeout: time.Minute}, HTTPOptions{})
	silent, end := context.WithCancel(budget.Of(t.Context(), "mallory"))
	defer end()
	var asking sync.WaitGroup
	for range 100 {
		asking.Go(func() {
			if _, err := c.Get(silent, s.URL); err == nil {
				t.Error("a request that is not answered has an answer")
			}
		})
	}
	<-full
	for range 3 * most { // each gives its place back
		if _, err := c.Get(budget.Of(t.Context(), "shop"), s.URL+"/answers"); err != nil {
			t.Errorf("another namespace: %v", err)
		}
	}
	if n := worst.Load(); n > ofOne {
		t.Errorf("%d requests of one namespace at once", n)
	}
	end() // the server learns of it later than who waits for a place
	asking.Wait()
	for range ofOne {
		if _, ok := gate.Try("mallory"); !ok {
			t.Error("a place is lost")
		}
	}
}
