package main

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Ending(m)) }
