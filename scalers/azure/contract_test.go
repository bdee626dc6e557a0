package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// subject is a trigger of one type.
type subject struct {
	scaler.Trigger

	metadata map[string]string
	auth     func(address string) map[string]string // what leads to a service at a host:port
	address  string                                 // where it is
	value    float64
	what     string // how its errors begin
}

func storageAuth(address string) map[string]string {
	base := "http://" + address + "/" + servers.AzuriteAccount
	return map[string]string{"connection": servers.AzuriteConnection(base, base)}
}

// everyType is a trigger of each type, on things of this name that it makes.
func everyType(t testing.TB, name string) []subject {
	t.Helper()
	a := servers.SharedAzurite(t)
	owner(t, a.QueueURL()).queue(name, 3, 0)
	return []subject{
		{azureQueue, map[string]string{"queueName": name}, storageAuth, a.QueueAddr(), 3, "queue " + name + ": "},
	}
}

func TestContract(t *testing.T) {
	for _, s := range everyType(t, "contract") {
		t.Run(s.Type, func(t *testing.T) {
			scalertest.Contract(t, scalertest.Case{
				Trigger:  s.Trigger,
				Metadata: joined(s.metadata, s.auth(s.address)),
				Dead:     func(t testing.TB) map[string]string { return joined(s.metadata, s.auth(scalertest.DeadAddress(t))) },
				Stalled:  func(t testing.TB) map[string]string { return joined(s.metadata, s.auth(scalertest.StalledAddress(t))) },
			})
		})
	}
}
