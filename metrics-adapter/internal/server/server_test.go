package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

func TestAnAdapterWithoutTheAPIServerIsNotReady(t *testing.T) {
	answering := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden) // whatever it says
	}))
	defer answering.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for url, ready := range map[string]bool{answering.URL: true, gone.URL: false} {
		api, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: url})
		if err != nil {
			t.Fatal(err)
		}
		err = connection(t.Context(), api)
		if (err == nil) != ready || err != nil && !strings.HasPrefix(err.Error(), "the API server does not answer: ") {
			t.Errorf("connection = %v, want ready = %v", err, ready)
		}
	}
}

// Anybody may ask whether the adapter is ready. The API server hears of it once a
// second, and of a thousand who ask at the same time once.
func TestProbesShareOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer error
		questions := 0
		c := &contact{ask: func(context.Context) error {
			questions++
			<-time.After(contactTimeout / 4)
			return answer
		}}
		ask := func(want error) {
			t.Helper()
			var all sync.WaitGroup
			for range 1000 {
				all.Go(func() {
					if err := c.check(t.Context()); !errors.Is(err, want) {
						t.Errorf("%v, want %v", err, want)
					}
				})
			}
			all.Wait()
		}
		ask(nil)
		answer = errors.New("gone")
		ask(nil) // as a moment ago
		if questions != 1 {
			t.Errorf("%d questions", questions)
		}
		<-time.After(contactFor)
		ask(answer)
		<-time.After(contactFor)
		answer = nil
		ask(nil)
		if questions != 3 {
			t.Errorf("%d questions in three seconds", questions)
		}
		<-time.After(contactFor)
		// Who goes takes the answer from nobody else.
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.check(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		ask(nil)
		if questions != 4 {
			t.Errorf("%d questions", questions)
		}
	})
}

// An API server that hangs holds who asks for a moment, and each for its own time.
func TestAnAPIServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contact{ask: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := c.check(short); err == nil || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := c.check(t.Context()); err == nil || time.Since(began) != contactTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
