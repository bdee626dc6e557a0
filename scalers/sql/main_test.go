package main

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// trusted is an authority that this process trusts as it does those of its
// system: Entra is spoken to over TLS alone.
var trusted *servers.Authority

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(scalertest.Beside(servers.Trusting(servers.Ending(m), &trusted)))
}

// patience is many times what anything here takes.
const patience = time.Minute

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// executor is a server that runs statements.
type executor interface {
	Exec(ctx context.Context, statements string) error
}

// run executes statements that have to succeed.
func run(t testing.TB, e executor, statements string) {
	t.Helper()
	if err := e.Exec(within(t), statements); err != nil {
		t.Fatal(err)
	}
}

// split is the host and the port of an address.
func split(t testing.TB, address string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}
