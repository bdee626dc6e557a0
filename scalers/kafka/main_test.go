package main

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(scalertest.Beside(servers.Ending(m))) }
