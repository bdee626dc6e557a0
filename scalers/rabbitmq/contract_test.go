package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("rabbitmq", ofQueue("amqp", (*servers.RabbitMQServer).AMQPURL))
var _ = cases.Add("rabbitmq over HTTP", ofQueue("http", (*servers.RabbitMQServer).HTTPURL))

// ofQueue is the case of a type that asks for the length of a queue by a
// protocol.
func ofQueue(scheme string, url func(r *servers.RabbitMQServer, vhost string) string) func(testing.TB) scalertest.Case {
	return func(t testing.TB) scalertest.Case {
		r := servers.SharedRabbitMQ(t)
		name := vhost(t, r)
		operate(t, r.AMQPURL(name)).queue("contract", 3)
		listed(t, r, name, "contract", 3)
		metadata := func(host string) map[string]string { return map[string]string{"host": host, "queueName": "contract"} }
		return scalertest.Case{
			Metadata: metadata(url(r, name)),
			At:       func(address string) map[string]string { return metadata(scheme + "://" + address + "/contract") },
			Auth:     map[string]string{"username": servers.RabbitMQUser, "password": servers.RabbitMQPassword},
			Value:    3,
			OnePart:  "all queues are asked of one server; tests of the family have one of them, or their listing, stall",
		}
	}
}
