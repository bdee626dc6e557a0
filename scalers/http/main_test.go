package main

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(scalertest.Beside(m)) }
