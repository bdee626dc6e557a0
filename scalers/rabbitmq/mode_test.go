package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestModes(t *testing.T) {
	const threshold = 2
	tests := map[string]struct {
		mode   string
		seen   counts
		ready  bool // excludeUnacknowledged
		value  float64
		active bool
	}{
		"length above the threshold":         {queueLength, counts{messages: 3, ready: 1}, false, 3, true},
		"length at the threshold":            {queueLength, counts{messages: 2}, false, 2, false},
		"ready messages alone":               {queueLength, counts{messages: 9, ready: 1}, true, 1, false},
		"publish rate":                       {messageRate, counts{published: 2.5}, false, 2.5, true},
		"publish rate at the threshold":      {messageRate, counts{published: 2, messages: 2}, false, 2, false},
		"a backlog that nobody publishes to": {messageRate, counts{messages: 3}, false, 0, true},
		"a backlog that is taken already":    {messageRate, counts{messages: 3}, true, 0, false},
		"delivery rate":                      {deliverGetRate, counts{delivered: 2.5, messages: 9}, false, 2.5, true},
		"no delivery":                        {deliverGetRate, counts{messages: 9}, false, 0, false},
		"ratio":                              {publishedToDeliveredRatio, counts{published: 5, delivered: 2}, false, 2.5, true},
		"ratio at the threshold":             {publishedToDeliveredRatio, counts{published: 4, delivered: 2}, false, 2, false},
		"ratio without publishing":           {publishedToDeliveredRatio, counts{delivered: 2, messages: 9}, false, 0, false},
		"ratio without delivery is active":   {publishedToDeliveredRatio, counts{published: 0.1}, false, threshold, true},
		"ratio of nothing":                   {publishedToDeliveredRatio, counts{messages: 9}, false, 0, false},
		"time to empty":                      {expectedQueueConsumptionTime, counts{messages: 10, published: 6, delivered: 4}, false, 3, true},
		"time to empty at the threshold":     {expectedQueueConsumptionTime, counts{messages: 8, published: 4, delivered: 4}, false, 2, false},
		"time to empty a shrinking queue":    {expectedQueueConsumptionTime, counts{messages: 1, delivered: 4}, false, -0.75, false},
		"time to empty an empty queue":       {expectedQueueConsumptionTime, counts{published: 5}, false, 0, false},
		"time to empty without delivery":     {expectedQueueConsumptionTime, counts{messages: 1}, false, threshold, true},
		"time to empty, all taken already":   {expectedQueueConsumptionTime, counts{messages: 1}, true, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := rabbitmqParams{targetParams: targetParams{
				Mode: tt.mode, Value: 1, ActivationValue: threshold, ExcludeUnacknowledged: tt.ready,
			}}
			raw := tt.seen.readings()
			shaped := p.Shape(raw)
			if got := shaped[0].Activity > threshold; shaped[0].Value != tt.value || got != tt.active {
				t.Errorf("value, active = %v, %v, want %v, %v", shaped[0].Value, got, tt.value, tt.active)
			}
			if raw[0].Value != float64(tt.seen.messages) {
				t.Errorf("the shared reading became %v", raw[0].Value)
			}
		})
	}
}

// TestTargetsShareAQuestion proves that neither mode nor threshold makes the
// broker be asked again.
func TestTargetsShareAQuestion(t *testing.T) {
	metadata := map[string]string{"queueName": "jobs", "host": overHTTP}
	question := func(more map[string]string) string {
		bound, err := rabbitmq.Bind(new(scalertest.Family).Ref("rabbitmq", onTop(metadata, more)), &scaler.Credentials{})
		if err != nil {
			t.Fatal(err)
		}
		return bound.Question
	}
	plain := question(nil)
	for _, same := range []map[string]string{
		{"queueLength": "7"}, {"mode": "MessageRate", "value": "3"}, {"activationValue": "9"}, {"excludeUnacknowledged": "true"},
	} {
		if question(same) != plain {
			t.Errorf("%v changes the question", same)
		}
	}
	for _, other := range []map[string]string{
		{"queueName": "bills"}, {"vhostName": "b"}, {"useRegex": "true"}, {"timeout": "1s"}, {"unsafeSsl": "true"},
	} {
		if question(other) == plain {
			t.Errorf("%v does not change the question", other)
		}
	}
}
