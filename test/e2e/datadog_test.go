package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// clusterAgent stands in for Datadog's: it knows one DatadogMetric, tells it over
// TLS to who has its token, and can be ended and started again.
type clusterAgent struct {
	t       *testing.T
	address string
	server  *httptest.Server
	waiting atomic.Int64
}

// clusterAgentToken is the bearer token.
const clusterAgentToken = planted + "-agent"

func (a *clusterAgent) start() {
	a.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(a.t.Context(), "tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.address = listener.Addr().String()
	a.server = httptest.NewUnstartedServer(a)
	_ = a.server.Listener.Close() // the one that it made itself
	a.server.Listener = listener
	a.server.StartTLS()
}

// ServeHTTP answers as the Cluster Agent does.
func (a *clusterAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"kind": "Status", "message": "Unauthorized"}
	switch {
	case r.Header.Get("Authorization") != "Bearer "+clusterAgentToken:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path != "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/datadogmetric@shop:orders":
		w.WriteHeader(http.StatusNotFound)
		answer["message"] = "no such metric"
	default:
		answer = map[string]any{"kind": "ExternalMetricValueList", "items": []any{
			map[string]any{"metricName": "datadogmetric@shop:orders", "value": strconv.FormatInt(a.waiting.Load(), 10)},
		}}
	}
	_ = json.NewEncoder(w).Encode(answer) // who no longer listens needs no answer
}

// TestDatadog has a DatadogMetric scale 0 -> N -> 0. The Cluster Agent is killed at
// N, where replicas stay, and comes back. A second trigger with the same metric has
// a name of its own.
func TestDatadog(t *testing.T) {
	t.Parallel()
	agent := &clusterAgent{t: t, address: net.JoinHostPort(world.cluster.Address(), "0")}
	agent.start()
	t.Cleanup(func() { agent.server.Close() })

	// Its Service and its namespace make the address of this machine.
	host, port, err := net.SplitHostPort(agent.address)
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndex(host, ".")
	c := credentials{t, namespace(t)}
	c.secret("agent", map[string]string{
		"datadogMetricsService": host[:last], "datadogNamespace": host[last+1:], "datadogMetricsServicePort": port,
		"unsafeSsl": "true", "authMode": "bearer", "token": clusterAgentToken,
	})
	c.authentication("agent", "datadogMetricsService", "datadogNamespace", "datadogMetricsServicePort", "unsafeSsl", "authMode", "token")

	metric := map[string]string{
		"useClusterAgentProxy": "true", "datadogMetricName": "orders", "datadogMetricNamespace": "shop", "targetValue": "5",
	}
	s := quick(brokers.Trigger{Type: "datadog", Metadata: metric}, brokers.Trigger{Type: "datadog", Metadata: metric})
	for _, one := range s["triggers"].([]map[string]any) {
		one["authenticationRef"] = map[string]any{"name": "agent"}
	}
	s["pollingInterval"] = 1
	o := scale(t, c.namespace, "worker", 0, s)
	o.grant()
	o.waitCondition("Ready", "True", "")
	o.waitCondition("Active", "False", "")

	agent.waiting.Store(50)
	o.waitReplicas(10)
	if got := strings.Join(metricNames(o.hpa()), " "); got != "s0-datadogmetric@shop:orders s1-datadogmetric@shop:orders" {
		t.Errorf("metrics of the HPA = %s", got)
	}
	agent.server.CloseClientConnections()
	agent.server.Close()
	o.wait("Ready without the Cluster Agent", func() (bool, string) { return o.condition("Ready")["status"] != "True", o.describe() })
	o.unmoved(10)
	agent.start()
	o.waitCondition("Ready", "True", "")
	o.unmoved(10)
	agent.waiting.Store(0)
	o.waitReplicas(0)
	o.waitCondition("Active", "False", "")
}
