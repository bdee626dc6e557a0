package serving

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/outbound"
)

func TestMain(m *testing.M) {
	outbound.Allow(outbound.Loopback...) // the tests' servers
	goleak.VerifyTestMain(m)
}
