package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// quick lets a scenario go back to zero without waiting for the defaults.
func quick(all ...brokers.Trigger) spec {
	return spec{"cooldownPeriod": 3, "maxReplicaCount": 20, "triggers": triggers(all...)}
}

func kafkaTopic(t *testing.T, name string) *brokers.KafkaTopic {
	t.Helper()
	topic, err := brokers.NewKafkaTopic(t.Context(), world.kafka.Bootstrap(), name, name+"-group", 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(topic.Close)
	return topic
}

func rabbitMQQueue(t *testing.T, name, host string) *brokers.RabbitMQQueue {
	t.Helper()
	queue, err := brokers.NewRabbitMQQueue(world.rabbitmq.AMQPURL("/"), host, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(queue.Close)
	return queue
}

// TestBacklogScales is the main job: 0 -> N -> 0 for every way to a broker.
func TestBacklogScales(t *testing.T) {
	tests := map[string]func(t *testing.T) brokers.Queue{
		"kafka":            func(t *testing.T) brokers.Queue { return kafkaTopic(t, "scales") },
		"rabbitmq by AMQP": func(t *testing.T) brokers.Queue { return rabbitMQQueue(t, "scales-amqp", world.rabbitmq.AMQPURL("/")) },
		"rabbitmq by HTTP": func(t *testing.T) brokers.Queue { return rabbitMQQueue(t, "scales-http", world.rabbitmq.HTTPURL("/")) },
	}
	for name, makeQueue := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue := makeQueue(t)
			s := quick(queue.Trigger(5))
			s["pollingInterval"] = 1
			o := scale(t, namespace(t), "worker", 0, s)
			o.waitCondition("Ready", "True", "")
			if err := queue.Produce(t.Context(), 50); err != nil {
				t.Fatal(err)
			}
			o.waitReplicas(10)
			if err := queue.Consume(t.Context(), 50); err != nil {
				t.Fatal(err)
			}
			o.waitReplicas(0)
			o.waitCondition("Active", "False", "")
		})
	}
}

// TestCronWindow opens a window at the next full minute and closes it at the
// one after.
func TestCronWindow(t *testing.T) {
	t.Parallel()
	opens := time.Now().UTC().Truncate(time.Minute).Add(time.Minute)
	if time.Until(opens) < 5*time.Second {
		opens = opens.Add(time.Minute)
	}
	minute := func(at time.Time) string { return at.Format("4 15 * * *") }
	o := scale(t, namespace(t), "worker", 0, quick(brokers.Trigger{Type: "cron", Metadata: map[string]string{
		"timezone": "UTC", "start": minute(opens), "end": minute(opens.Add(time.Minute)), "desiredReplicas": "3",
	}}))
	o.waitCondition("Ready", "True", "")
	if have := o.replicas(); have != 0 && time.Now().Before(opens) {
		t.Fatalf("%d replicas before the window opens", have)
	}
	o.waitReplicas(3)
	if now := time.Now(); now.Before(opens) {
		t.Errorf("scaled %v before the window opened", opens.Sub(now))
	}
	waitMeasured(t, "cron")
	o.waitReplicas(0)
	if now, closes := time.Now(), opens.Add(time.Minute); now.Before(closes) {
		t.Errorf("scaled down %v before the window closed", closes.Sub(now))
	}
}

// TestLargerDemandWins has two triggers on one object.
func TestLargerDemandWins(t *testing.T) {
	t.Parallel()
	topic, queue := kafkaTopic(t, "larger"), rabbitMQQueue(t, "larger", world.rabbitmq.AMQPURL("/"))
	s := quick(topic.Trigger(5), queue.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, namespace(t), "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	if err := queue.Produce(t.Context(), 30); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(6)
	if err := topic.Produce(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(12)
}

// TestFamilyMissing creates an object whose family does not exist: there must
// never be an HPA with a guess in it, and the Service alone starts it all.
func TestFamilyMissing(t *testing.T) {
	t.Parallel()
	o := scale(t, namespace(t), "worker", 1, quick(brokers.Trigger{Type: "made-up", Metadata: map[string]string{"a": "b"}}))
	o.waitCondition("Ready", "False", "Service scaler-made-up not found in namespace sluice-system")
	if c := o.condition("Ready"); !strings.HasPrefix(c["message"], "trigger 0 (made-up): ") {
		t.Errorf("the message does not name the trigger: %q", c["message"])
	}
	if hpa := o.hpa(); hpa != nil {
		t.Errorf("an HPA was created: %v", hpa.Spec.Metrics)
	}
	if have := o.replicas(); have != 1 {
		t.Errorf("%d replicas, want the 1 there was", have)
	}
}

// TestOneBadTriggerInANewObject has a misspelt trigger, one whose family does not
// exist and one of an old time before a cron trigger that asks for three: it
// scales by that one alone, under the bounds that are given later.
func TestOneBadTriggerInANewObject(t *testing.T) {
	t.Parallel()
	cron := brokers.Trigger{Type: "cron", Metadata: map[string]string{
		"timezone": "UTC", "start": "0 0 1 1 *", "end": "59 23 31 12 *", "desiredReplicas": "3",
	}}
	s := quick(
		brokers.Trigger{Type: "kafka", Metadata: map[string]string{"bootstrapServers": "kafka:9092", "consumerGroup": "g", "lagThreshold": "many"}},
		brokers.Trigger{Type: "made-up", Metadata: map[string]string{"a": "b"}}, cron,
	)
	s["triggers"] = append(s["triggers"].([]map[string]any), map[string]any{"type": "cpu", "metadata": map[string]any{"type": "Utilization", "value": "50"}})
	o := scale(t, namespace(t), "worker", 0, s)
	for _, text := range []string{"trigger 0 (kafka): lagThreshold: ", "trigger 1 (made-up): Service scaler-made-up", "trigger 3 (cpu): metadata.type: was removed"} {
		o.waitCondition("Ready", "False", text)
	}
	o.waitReplicas(3)
	if metrics := o.hpa().Spec.Metrics; len(metrics) != 1 || !strings.HasPrefix(metrics[0].External.Metric.Name, "s2-cron-") {
		t.Errorf("the HPA has %v", metrics)
	}
	s["minReplicaCount"], s["maxReplicaCount"] = 5, 6
	o.apply(s)
	o.waitReplicas(5)
}

// TestASourceThatCanNeverAnswer has its bounds all the same.
func TestASourceThatCanNeverAnswer(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{"no-url": "ftp:/nowhere", "no-host": "http://nowhere.invalid/"} {
		s := quick(brokers.Trigger{Type: "metrics-api", Metadata: map[string]string{"url": address, "valueLocation": "n", "targetValue": "5"}})
		s["minReplicaCount"], s["maxReplicaCount"] = 2, 4
		o := scale(t, namespace(t), name, 9, s)
		o.waitCondition("Ready", "False", "trigger 0 (metrics-api): ")
		o.waitReplicas(4)
	}
}
