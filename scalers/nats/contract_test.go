package main

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestContract(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "contract", Subjects: []string{"contract.>"}}, "workers")
	o.publish("contract.a", 3)
	metadata := func(endpoint string) map[string]string {
		return map[string]string{
			"natsServerMonitoringEndpoint": endpoint, "natsServerEndpoint": s.Addr().String(), "account": "$G", "stream": "contract", "consumer": "workers",
		}
	}
	scalertest.Contract(t, scalertest.Case{
		Trigger:  natsJetStream,
		Metadata: metadata(monitoringPort(s)),
		Auth:     map[string]string{"username": "somebody", "password": "let-me-in"},
		Dead:     func(t testing.TB) map[string]string { return metadata(scalertest.DeadAddress(t)) },
		Stalled:  func(t testing.TB) map[string]string { return metadata(scalertest.StalledAddress(t)) },
	})
}
