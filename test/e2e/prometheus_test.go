package e2e

import (
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestPrometheusScales follows a metric that a Prometheus scrapes: 0 -> N, held
// while the server is dead, and back to 0.
func TestPrometheusScales(t *testing.T) {
	t.Parallel()
	var waiting atomic.Int64
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(world.cluster.Address(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	target := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "jobs_waiting %d\n", waiting.Load())
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = target.Serve(l) // until it is closed
	}()
	defer func() {
		_ = target.Close()
		<-ended
	}()
	p := servers.Prometheus(t, servers.PrometheusOptions{Address: world.cluster.Address(), Targets: []string{l.Addr().String()}})

	s := quick(brokers.Trigger{Type: "prometheus", Metadata: map[string]string{
		"serverAddress": p.URL(), "query": "sum(jobs_waiting)", "threshold": "5",
	}})
	s["pollingInterval"] = 1
	o := scale(t, namespace(t), "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	waiting.Store(20)
	o.waitReplicas(4)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "False", "connection refused")
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas while nobody can tell, want 4", have)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "True", "")
	waiting.Store(0)
	o.waitReplicas(0)
}
