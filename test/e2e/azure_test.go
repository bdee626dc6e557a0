package e2e

import (
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestAzureQueue has a queue of Azure Storage, in Azurite, scale 0 -> N -> 0. The
// server is killed at N, where replicas stay and the condition says why, and comes
// back with what it had.
func TestAzureQueue(t *testing.T) {
	t.Parallel()
	server := servers.Azurite(t, servers.AzuriteOptions{Address: world.cluster.Address()})
	queue, err := brokers.NewAzureQueue(t.Context(), server, "orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(queue.Close)
	s := quick(queue.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, namespace(t), "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	o.waitCondition("Active", "False", "")
	if err := queue.Produce(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(10)
	if err := server.MessagesWritten(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	o.wait("Ready without its server", func() (bool, string) {
		ready := o.condition("Ready")
		return ready["status"] != "True" && strings.Contains(ready["message"], "queue orders: ") && strings.Contains(ready["message"], server.QueueAddr()), o.describe()
	})
	if have := o.replicas(); have != 10 {
		t.Errorf("%d replicas without the server, want the 10 there were", have)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "True", "")
	if have := o.replicas(); have != 10 {
		t.Errorf("%d replicas with the server back, want the 10 there were", have)
	}
	o.wait("the work to be done", func() (bool, string) {
		if err := queue.Consume(t.Context(), 50); err != nil {
			return false, err.Error()
		}
		left, err := queue.Backlog(t.Context())
		return err == nil && left == 0, "a backlog"
	})
	o.waitReplicas(0)
	o.waitCondition("Active", "False", "")
}
