package inbound

import (
	"context"
	"net"
	"net/http"
	"time"
)

// What scrapes and probes have: a scraper and a kubelet need a few connections
// with a short header each.
const (
	mostConnections, mostConnectionsOfOne = 128, 32
	longestHeader                         = 16 << 10
	headerTime                            = 5 * time.Second
	answerTime                            = 30 * time.Second
	idleTime                              = 90 * time.Second
	// mostScrapes are answered at once, mostScrapesOfOne of one address: each
	// makes all series. longestWait is how long one waits for its turn.
	mostScrapes, mostScrapesOfOne = 4, 2
	longestWait                   = 10 * time.Second
)

// Listen opens a port for scrapes and probes.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return Bounded(l), nil
}

// Bounded bounds the connections of a port as those of the one for scrapes.
func Bounded(l net.Listener) net.Listener {
	return Listener(l, mostConnections, mostConnectionsOfOne)
}

// Server answers scrapes and probes.
func Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, MaxHeaderBytes: longestHeader, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime,
		WriteTimeout: answerTime, IdleTimeout: idleTime,
	}
}

// Scrapes answers a few scrapes at once, the others in turn.
func Scrapes(next http.Handler) http.Handler {
	gate := NewGate(mostScrapes, mostScrapesOfOne)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), longestWait)
		defer cancel()
		leave, ok := gate.Enter(ctx, HostOf(r.RemoteAddr))
		if !ok {
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		next.ServeHTTP(w, r)
	})
}
