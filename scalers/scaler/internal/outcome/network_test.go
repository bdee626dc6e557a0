package outcome_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestNetwork breaks connections as networks and servers do.
func TestNetwork(t *testing.T) {
	trusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	trusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	trusted.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	trusted.StartTLS()
	defer trusted.Close()
	secure := trusted.Listener.Addr().String()
	closed := scalertest.DeadAddress(t)
	resolver := &net.DNSError{Err: "no such host", Name: "db.shop", IsNotFound: true}

	given := outcome.Parameters{Authority: "parameter ca", Certificate: "parameters cert and key"}
	tests := map[string]struct {
		err   error
		given outcome.Parameters
		code  codes.Code
		text  string
	}{
		"nobody listens":                      {err: dial(t, closed), code: codes.Unavailable, text: "dial tcp " + closed + ": connect: connection refused"},
		"no such host":                        {err: &net.OpError{Op: "dial", Net: "tcp", Err: resolver}, code: codes.Unavailable, text: "lookup db.shop: no such host"},
		"a silent server":                     {err: silent(t), code: codes.DeadlineExceeded, text: "no answer in time"},
		"an expired context":                  {err: context.DeadlineExceeded, code: codes.DeadlineExceeded, text: "no answer in time"},
		"nobody waits any more":               {err: context.Canceled, code: codes.Canceled, text: "cancelled"},
		"hung up":                             {err: io.ErrUnexpectedEOF, code: codes.Unavailable, text: "the connection was lost"},
		"an unknown authority":                {err: exchange(t, secure, &tls.Config{}), code: codes.Unavailable, text: "the certificate of the server is signed by an unknown authority"},
		"an unknown authority, by parameter":  {err: exchange(t, secure, &tls.Config{}), given: given, code: codes.Unavailable, text: "the certificate of the server is signed by an unknown authority, see parameter ca"},
		"another's name":                      {err: exchange(t, secure, named(trusted)), given: given, code: codes.Unavailable, text: "x509: certificate is valid for example.com, *.example.com, not db.shop"},
		"a certificate demanded":              {err: exchange(t, secure, &tls.Config{InsecureSkipVerify: true}), code: codes.Unauthenticated, text: "refused the TLS connection: certificate required"},
		"a certificate demanded by parameter": {err: exchange(t, secure, &tls.Config{InsecureSkipVerify: true}), given: given, code: codes.Unauthenticated, text: "refused the TLS connection: certificate required, see parameters cert and key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, text, known := outcome.Network(fmt.Errorf("open: %w", tt.err), tt.given)
			if !known || code != tt.code || text != tt.text {
				t.Errorf("Network(%v) = %v %q %t, want %v %q", tt.err, code, text, known, tt.code, tt.text)
			}
		})
	}
}

func TestNetworkLeavesAnswersAlone(t *testing.T) {
	if code, text, known := outcome.Network(errors.New("WRONGPASS"), outcome.Parameters{}); known {
		t.Errorf("an answer is %v %q", code, text)
	}
}

func dial(t *testing.T, address string) error {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
	}
	return err
}

// silent reads from a server that says nothing.
func silent(t *testing.T) error {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if err := ours.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	_, err := ours.Read(make([]byte, 1))
	return err
}

// exchange shakes hands and waits for the server's first byte.
func exchange(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err
}

// named trusts the server under a name that its certificate has not.
func named(server *httptest.Server) *tls.Config {
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "db.shop"
	return config
}
