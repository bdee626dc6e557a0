package admission

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

const (
	// mostConnections are open at once, mostConnectionsOfOne of them from one
	// address. A connection has one request at a time.
	mostConnections, mostConnectionsOfOne = 1024, 256
	// longestHeader is what the header of a request may have.
	longestHeader = 16 << 10
	// headerTime is how long a handshake, and after it a header, may take.
	headerTime = 5 * time.Second
	// answerTime is how long a request may take from its header to its answer.
	answerTime = longestWait + 5*time.Second
	// idleTime is how long a connection may wait for the next request.
	idleTime = 90 * time.Second
	// readAgain is how often the certificates of the authority are read.
	readAgain = time.Minute
	// lastAnswers is how long what was asked may take when the server ends.
	lastAnswers = 10 * time.Second
)

// Server serves the webhook within bounds: on connections, on what is sent over
// them, and on reviews that are judged at once.
type Server struct {
	// Address is host:port.
	Address string
	// TLS has at least the certificate.
	TLS *tls.Config
	// Clients says who may ask; the zero value is anybody.
	Clients Clients
	// Handlers are served by path.
	Handlers map[string]http.Handler
	// Log receives what an operator acts on.
	Log *slog.Logger
}

// Clients are those who may ask.
type Clients struct {
	// Authority is a file with the certificates, as PEM, by which clients are
	// signed. Empty asks for no certificate.
	Authority string
	// Names are the common names of those who may ask; empty is all that
	// Authority signed.
	Names []string
}

// NeedLeaderElection tells controller-runtime that standbys answer, too.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx is done.
func (s *Server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("--webhook-bind-address: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Serve serves on a listener, which it closes, until ctx is done.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config := s.TLS.Clone()
	config.NextProtos = []string{"http/1.1"} // all that API servers speak with webhooks
	if s.Clients.Authority != "" {
		verifier := &verifier{clients: s.Clients, log: s.Log}
		if err := verifier.read(); err != nil {
			return errors.Join(fmt.Errorf("--webhook-client-ca: %w", err), listener.Close())
		}
		verifier.require(config)
		done := make(chan struct{})
		go func() { // reads a file of the operator's
			defer close(done)
			verifier.follow(ctx)
		}()
		defer func() { cancel(); <-done }()
	}
	mux, gate := http.NewServeMux(), inbound.NewEntrance(mostReviews, mostOfOne, mostJudged)
	for path, handler := range s.Handlers {
		mux.Handle(path, ofPeers(gate, handler))
	}
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: longestHeader, ReadHeaderTimeout: headerTime, ReadTimeout: answerTime,
		WriteTimeout: answerTime, IdleTimeout: idleTime, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(tls.NewListener(inbound.Listener(listener, mostConnections, mostConnectionsOfOne), config))
	}() // the library answers a panic of a handler
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, end := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer end()
	err := server.Shutdown(last)
	if err != nil {
		err = server.Close()
	}
	<-served //nolint:errcheck // that it is closed
	return err
}

// verifier admits clients by their certificates. It follows the file, since an
// authority may be renewed.
type verifier struct {
	clients Clients
	log     *slog.Logger
	pool    atomic.Pointer[x509.CertPool]
}

func (v *verifier) read() error {
	text, err := os.ReadFile(v.clients.Authority)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: has no certificate", v.clients.Authority)
	}
	v.pool.Store(pool)
	return nil
}

// follow reads the file again and again until ctx is done. While it cannot be
// read, those stay who were there.
func (v *verifier) follow(ctx context.Context) {
	again := time.NewTicker(readAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			if err := v.read(); err != nil {
				v.log.Error("the authority of the webhook's clients could not be read", "error", err)
			}
		}
	}
}

// require makes a configuration one that asks for a certificate.
func (v *verifier) require(config *tls.Config) {
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		own := config.Clone()
		own.GetConfigForClient = nil
		own.ClientAuth, own.ClientCAs = tls.RequireAndVerifyClientCert, v.pool.Load()
		own.VerifyConnection = v.named
		return own, nil
	}
}

// named refuses whom the authority signed for something else.
func (v *verifier) named(state tls.ConnectionState) error {
	if len(v.clients.Names) == 0 {
		return nil
	}
	if name := state.PeerCertificates[0].Subject.CommonName; !slices.Contains(v.clients.Names, name) {
		return fmt.Errorf("client %q is none of --webhook-client-names", name)
	}
	return nil
}
