// Package apitest stands in for an API server in tests: it has objects by path,
// refuses what it is told to, and forwards ports of Pods.
package apitest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// API is an API server.
type API struct {
	T *testing.T
	// Objects are answers by path. What it has none for is not found.
	Objects   map[string]string
	Forbidden map[string]bool
	// NotFound are other answers than that an object is not there.
	NotFound map[string]string
	// Address is where ports of Pods lead to, and Port which that is to be. With
	// Failure none leads anywhere.
	Address, Port, Failure string

	forwards sync.WaitGroup // of which the server knows nothing
}

// Start starts it, and returns how it is reached.
func (a *API) Start() *rest.Config {
	server := httptest.NewServer(a)
	a.T.Cleanup(func() {
		//dials:nothing in a test
		http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // the library's
		server.Close()
		a.forwards.Wait() // until whoever asked has hung up
	})
	return &rest.Config{Host: server.URL}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fail := func(code int, reason string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d, "reason": %q, "message": %q, "details": {"name": %q}}`,
			code, reason, reason+" "+r.URL.Path, path.Base(r.URL.Path))
	}
	text, there := a.Objects[r.URL.Path]
	switch {
	case a.Forbidden[r.URL.Path]:
		fail(http.StatusForbidden, "Forbidden")
	case strings.HasSuffix(r.URL.Path, "/portforward"):
		a.forward(w, r)
	case a.NotFound[r.URL.Path] != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, a.NotFound[r.URL.Path])
	case !there:
		fail(http.StatusNotFound, "NotFound")
	default:
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.WriteString(w, text); err != nil {
			a.T.Error(err)
		}
	}
}

func (a *API) forward(w http.ResponseWriter, r *http.Request) {
	a.forwards.Add(1)
	defer a.forwards.Done()
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		a.T.Error(err)
		return
	}
	streams := make(chan httpstream.Stream, 2)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if connection == nil {
		a.T.Error("not upgraded")
		return
	}
	defer connection.Close()
	failures, data := <-streams, <-streams
	if port := data.Headers().Get(corev1.PortHeader); port != a.Port {
		a.T.Errorf("port %s", port)
	}
	if a.Failure != "" {
		// Whoever has read it hangs up at once.
		_, _ = io.WriteString(failures, a.Failure)
		_, _ = failures.Close(), data.Close()
		<-connection.CloseChan()
		return
	}
	//dials:administered the server of a test
	to, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", a.Address)
	if err != nil {
		a.T.Error(err)
		return
	}
	said := make(chan struct{})
	go func() { // until either hangs up
		defer close(said)
		_, _ = io.Copy(data, to)
		_ = data.Close()
	}()
	go func() { _, _ = io.Copy(to, data) }()
	<-connection.CloseChan()
	_ = to.Close()
	<-said
}

// Serve starts a gRPC server that is made by register, and returns its address.
func Serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}
