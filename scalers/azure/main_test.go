package main

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// trusted is an authority that this process trusts as it does those of its
// system: Entra, and Azure where it is shown tokens, are spoken to over TLS alone.
var trusted *servers.Authority

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(scalertest.Beside(servers.Trusting(servers.Ending(m), &trusted)))
}

// patience is many times what anything here takes.
const patience = time.Minute
