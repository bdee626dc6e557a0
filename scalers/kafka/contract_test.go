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
	topic, group := fresh("contract"), fresh("contract")
	o.create(2, topic)
	o.produce(topic, 0, 3)
	o.commit(group, topic, 0, 0)

	metadata := func(servers string) map[string]string {
		return map[string]string{"bootstrapServers": servers, "consumerGroup": group, "topic": topic}
	}
	for name, trigger := range map[string]scaler.Trigger{"kafka": kafka, "apache-kafka": apacheKafka} {
		t.Run(name, func(t *testing.T) {
			scalertest.Contract(t, scalertest.Case{
				Trigger:  trigger,
				Metadata: metadata(k.Bootstrap()),
				Dead:     func(t testing.TB) map[string]string { return metadata(scalertest.DeadAddress(t)) },
				Stalled:  func(t testing.TB) map[string]string { return metadata(scalertest.StalledAddress(t)) },
				Parts: func(t testing.TB) (healthy, stalled map[string]string, stall func()) {
					b := threeBrokers(t)
					at := func(node int32) map[string]string {
						return map[string]string{"bootstrapServers": b.servers, "consumerGroup": b.group(node), "topic": b.topic(t, node)}
					}
					return at(b.well), at(b.sick), func() { b.stall() }
				},
			})
		})
	}
}
