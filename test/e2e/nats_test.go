package e2e

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// TestNATS has a stream scale 0 -> N -> 0. Its server is killed at N, where
// replicas stay, and comes back. From zero, it rings: the next reading is an hour
// away.
func TestNATS(t *testing.T) {
	t.Parallel()
	server, err := brokers.StartNATS(world.cluster.Address(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	stream, err := brokers.NewNATSStream(t.Context(), server, "orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stream.Close)
	s := quick(stream.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, namespace(t), "worker", 0, s)
	o.annotate(`{"metadata": {"annotations": {"sluice.dev/idle-polling-interval": "1h"}}}`)
	o.waitCondition("Ready", "True", "")
	o.waitCondition("Active", "False", "")
	if err := stream.Produce(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(10)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	o.wait("Ready without its server", func() (bool, string) { return o.condition("Ready")["status"] != "True", o.describe() })
	if have := o.replicas(); have != 10 {
		t.Errorf("%d replicas without the server, want the 10 there were", have)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "True", "")
	if have := o.replicas(); have != 10 {
		t.Errorf("%d replicas with the server back, want the 10 there were", have)
	}
	o.wait("the work to be done", func() (bool, string) {
		if err := stream.Consume(t.Context(), 50); err != nil {
			return false, err.Error() // the client connects anew
		}
		left, err := stream.Backlog(t.Context())
		return err == nil && left == 0, "a backlog"
	})
	o.waitReplicas(0)
	o.waitCondition("Active", "False", "")
}
