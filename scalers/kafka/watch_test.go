package main

import (
	"testing"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestIdleTriggerWakes watches an idle trigger as the controller does. The
// polling interval is an hour: only the doorbell can tell of the record, or the
// one read that follows upon listening.
func TestIdleTriggerWakes(t *testing.T) {
	k := servers.SharedKafka(t)
	o := operate(t, k.Bootstrap())
	topic, group := fresh("idle"), fresh("sleepers")
	o.create(2, topic)
	o.commit(group, topic, 0, 0)
	family := scalertest.Serve(t, triggers...)
	watched := family.Watch(t, "kafka", map[string]string{
		"bootstrapServers": k.Bootstrap(), "consumerGroup": group, "topic": topic,
	}, scalerv1.Mode_MODE_IDLE, time.Hour)

	if _, err := watched.Until(t.Context(), "an empty topic", scalertest.Inactive); err != nil {
		t.Fatal(err)
	}
	o.produce(topic, 1, 1)
	if _, err := watched.Until(t.Context(), "the record to be noticed", scalertest.Active); err != nil {
		t.Fatal(err)
	}
}
