package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestContract(t *testing.T) {
	k := servers.SharedKafka(t)
	o := operate(t, k.Bootstrap())
	o.create(2, "contract")
	o.produce("contract", 0, 3)
	o.commit("contract", "contract", 0, 0)

	metadata := func(servers string) map[string]string {
		return map[string]string{"bootstrapServers": servers, "consumerGroup": "contract", "topic": "contract"}
	}
	for name, trigger := range map[string]scaler.Trigger{"kafka": kafka, "apache-kafka": apacheKafka} {
		t.Run(name, func(t *testing.T) {
			scalertest.Contract(t, scalertest.Case{
				Trigger:  trigger,
				Metadata: metadata(k.Bootstrap()),
				Dead:     func(t testing.TB) map[string]string { return metadata(scalertest.DeadAddress(t)) },
				Stalled:  func(t testing.TB) map[string]string { return metadata(scalertest.StalledAddress(t)) },
			})
		})
	}
}
