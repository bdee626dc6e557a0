package main

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("nats-jetstream", func(t testing.TB) scalertest.Case {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "contract", Subjects: []string{"contract.>"}}, "workers")
	o.publish("contract.a", 3)
	return scalertest.Case{
		Address: monitoringPort(s),
		At: func(address string) map[string]string {
			return map[string]string{
				"natsServerMonitoringEndpoint": address, "natsServerEndpoint": s.Addr().String(), "account": "$G", "stream": "contract", "consumer": "workers",
			}
		},
		Auth:  map[string]string{"username": "somebody", "password": "let-me-in"},
		Value: 3,
	}
})
