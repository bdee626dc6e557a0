package main

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestMain(m *testing.M) {
	if err := trustTestServers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(scalertest.Beside(servers.Ending(m)))
}

// trustTestServers makes this process trust the certificate that all servers of
// httptest have, as it would one from --ca-dir. The file is read once, with the
// first look.
func trustTestServers() error {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	dir, err := os.MkdirTemp("", "rabbitmq-test")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, []byte(certificateOf(server)), 0o600); err != nil {
		return err
	}
	if err := os.Setenv("SSL_CERT_FILE", file); err != nil {
		return err
	}
	_, err = x509.SystemCertPool()
	return err
}
