package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("kafka", ofGroup)
var _ = cases.Add("apache-kafka", ofGroup)

// ofGroup is the case of a type that asks for the lag of a group in a topic.
func ofGroup(t testing.TB) scalertest.Case {
	k := servers.SharedKafka(t)
	o := operate(t, k.Bootstrap())
	topic, group := fresh("contract"), fresh("contract")
	o.create(2, topic)
	o.produce(topic, 0, 3)
	o.commit(group, topic, 0, 0)
	return scalertest.Case{
		Address: k.Bootstrap(),
		At: func(address string) map[string]string {
			return map[string]string{"bootstrapServers": address, "consumerGroup": group, "topic": topic}
		},
		Value: 3,
		Parts: func(t testing.TB) (healthy, stalled map[string]string, stall func()) {
			b := threeBrokers(t)
			at := func(node int32) map[string]string {
				return map[string]string{"bootstrapServers": b.servers, "consumerGroup": b.group(node), "topic": b.topic(t, node)}
			}
			return at(b.well), at(b.sick), func() { b.stall() }
		},
	}
}
