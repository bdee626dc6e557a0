package main

import (
	"fmt"
	"os"
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
		trusted, err = servers.TrustedAuthority(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(servers.Ending(m))
}
