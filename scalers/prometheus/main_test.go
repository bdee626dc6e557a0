package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// trusted is an authority that this process trusts as it does those of its
// system: Entra is spoken to over TLS alone.
var trusted *servers.Authority

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-prometheus-test")
	if err == nil {
		defer os.RemoveAll(dir)
		err = trust(filepath.Join(dir, "ca.pem"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(servers.Ending(m))
}

// trust makes trusted one of the system's authorities, which are read once.
func trust(file string) (err error) {
	if trusted, err = servers.NewAuthority(); err != nil {
		return err
	}
	if err := os.WriteFile(file, trusted.CA, 0o600); err != nil {
		return err
	}
	return os.Setenv("SSL_CERT_FILE", file)
}
