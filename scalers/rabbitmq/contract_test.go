package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestContract(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	name := vhost(t, r)
	operate(t, r.AMQPURL(name)).queue("contract", 3)
	listed(t, r, name, "contract", 3)

	for scheme, host := range map[string]string{"amqp": r.AMQPURL(name), "http": r.HTTPURL(name)} {
		t.Run(scheme, func(t *testing.T) {
			metadata := func(host string) map[string]string {
				return map[string]string{"host": host, "queueName": "contract"}
			}
			elsewhere := func(address func(testing.TB) string) func(testing.TB) map[string]string {
				return func(t testing.TB) map[string]string {
					return metadata(scheme + "://" + address(t) + "/contract")
				}
			}
			scalertest.Contract(t, scalertest.Case{
				Trigger:  rabbitmq,
				Metadata: metadata(host),
				Auth:     map[string]string{"username": servers.RabbitMQUser, "password": servers.RabbitMQPassword},
				Dead:     elsewhere(scalertest.DeadAddress),
				Stalled:  elsewhere(scalertest.StalledAddress),
				OnePart:  "all queues are asked of one server; tests of the family have one of them, or their listing, stall",
			})
		})
	}
}
