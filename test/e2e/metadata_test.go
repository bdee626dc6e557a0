package e2e

import (
	"maps"
	"reflect"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// TestWrongMetadata turns a good trigger into a wrong one: the message names
// trigger, parameter and value, and the last good HPA stays as it is.
func TestWrongMetadata(t *testing.T) {
	t.Parallel()
	kafka := map[string]string{"bootstrapServers": world.kafka.Bootstrap(), "consumerGroup": "wrong", "topic": "wrong"}
	rabbitmq := map[string]string{"host": world.rabbitmq.AMQPURL("/"), "queueName": "wrong", "mode": "QueueLength", "value": "5"}
	cron := map[string]string{"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "3"}
	tests := map[string]struct {
		triggerType string
		good        map[string]string
		wrong       map[string]string // "" takes a key away
		messages    []string
	}{
		"a number that is none": {"kafka", kafka, map[string]string{"lagThreshold": "many"},
			[]string{`trigger 0 (kafka): lagThreshold: "many" is not an integer`}},
		"a required parameter that is missing": {"kafka", kafka, map[string]string{"consumerGroup": ""},
			[]string{`trigger 0 (kafka): consumerGroup: is required`}},
		"a value that is not allowed": {"kafka", kafka, map[string]string{"offsetResetPolicy": "newest"},
			[]string{`trigger 0 (kafka): offsetResetPolicy: "newest"`}},
		"a target of zero": {"kafka", kafka, map[string]string{"lagThreshold": "0"},
			[]string{`trigger 0 (kafka): lagThreshold`}},
		"parameters that exclude each other": {"kafka", kafka, map[string]string{"allowIdleConsumers": "true", "limitToPartitionsWithLag": "true"},
			[]string{"allowIdleConsumers", "limitToPartitionsWithLag"}},
		"a range that is none": {"kafka", kafka, map[string]string{"partitionLimitation": "1-x"},
			[]string{`trigger 0 (kafka): partitionLimitation`}},
		"several at once": {"kafka", kafka, map[string]string{"lagThreshold": "many", "limitToPartitionsWithLag": "maybe"},
			[]string{`lagThreshold: "many"`, `limitToPartitionsWithLag: "maybe"`}},
		"a mode that does not exist": {"rabbitmq", rabbitmq, map[string]string{"mode": "Length"},
			[]string{`trigger 0 (rabbitmq): mode: "Length"`}},
		"a rate over AMQP": {"rabbitmq", rabbitmq, map[string]string{"mode": "MessageRate"},
			[]string{`trigger 0 (rabbitmq): mode`}},
		"a protocol that does not exist": {"rabbitmq", rabbitmq, map[string]string{"protocol": "stomp"},
			[]string{`trigger 0 (rabbitmq): protocol: "stomp"`}},
		"a schedule that does not parse": {"cron", cron, map[string]string{"start": "at eight"},
			[]string{`trigger 0 (cron): start`, "at eight"}},
		"equal schedules": {"cron", cron, map[string]string{"end": "0 8 * * *"},
			[]string{`trigger 0 (cron): `, "start", "end"}},
		"a time zone that does not exist": {"cron", cron, map[string]string{"timezone": "Europe/Atlantis"},
			[]string{`trigger 0 (cron): timezone`, "Europe/Atlantis"}},
		"no replicas": {"cron", cron, map[string]string{"desiredReplicas": "0"},
			[]string{`trigger 0 (cron): desiredReplicas`}},
		"no address of an external scaler": {"external", map[string]string{"scalerAddress": world.cluster.Address() + ":1"}, map[string]string{"scalerAddress": ""},
			[]string{`trigger 0 (external): scalerAddress: is required`}},
	}
	ns := namespace(t)
	number := 0
	for name, tt := range tests {
		number++
		objectName := "worker-" + string(rune('a'+number))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			metadata := maps.Clone(tt.good)
			trigger := brokers.Trigger{Type: tt.triggerType, Metadata: metadata}
			o := scale(t, ns, objectName, 1, spec{"minReplicaCount": 1, "triggers": triggers(trigger)})
			if tt.triggerType != "external" {
				o.wait("an HPA", func() (bool, string) { return o.hpa() != nil, o.describe() })
			}
			good := o.hpa()
			for key, value := range tt.wrong {
				if value == "" {
					delete(metadata, key)
				} else {
					metadata[key] = value
				}
			}
			o.apply(spec{"minReplicaCount": 1, "triggers": triggers(trigger)})
			for _, text := range tt.messages {
				o.waitCondition("Ready", "False", text)
			}
			if good == nil {
				return
			}
			if now := o.hpa(); now == nil || !reflect.DeepEqual(good.Spec, now.Spec) {
				t.Errorf("the HPA was changed from %+v to %+v", good.Spec, now)
			}
		})
	}
}
