package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// collector is an OpenTelemetry collector: it takes OTLP over HTTP.
type collector struct {
	url    string
	server *http.Server
	ended  chan error

	mu      sync.Mutex
	spans   map[string]*tracev1.Span // by their own id
	figures map[string]bool          // "<name> <namespace>"
}

func startCollector(address string) (*collector, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	c := &collector{url: "http://" + l.Addr().String(), ended: make(chan error, 1), spans: map[string]*tracev1.Span{}, figures: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.takeSpans)
	mux.HandleFunc("POST /v1/metrics", c.takeFigures)
	c.server = &http.Server{Handler: mux}
	go func() { c.ended <- c.server.Serve(l) }()
	return c, nil
}

func (c *collector) close() error {
	err := c.server.Close()
	if ended := <-c.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// read reads a request and answers that all of it was taken.
func read(w http.ResponseWriter, r *http.Request, into proto.Message) bool {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, into)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	return true
}

func (c *collector) takeSpans(w http.ResponseWriter, r *http.Request) {
	var request collectortrace.ExportTraceServiceRequest
	if !read(w, r, &request) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[string(span.GetSpanId())] = span
			}
		}
	}
}

func (c *collector) takeFigures(w http.ResponseWriter, r *http.Request) {
	var request collectormetrics.ExportMetricsServiceRequest
	if !read(w, r, &request) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceMetrics() {
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				for _, point := range slices.Concat(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()) {
					c.figures[m.GetName()+" "+text(point.GetAttributes(), "namespace")] = true
				}
			}
		}
	}
}

func (c *collector) has(figure string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.figures[figure]
}

func text(attributes []*commonv1.KeyValue, key string) string {
	for _, a := range attributes {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// line is the names of a span of that name about an object and of all before
// it, in one trace.
func (c *collector) line(name, namespace string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	best := ""
	for _, span := range c.spans {
		if span.GetName() != name {
			continue
		}
		names, trace, about := []string{}, hex.EncodeToString(span.GetTraceId()), false
		for s := span; s != nil && hex.EncodeToString(s.GetTraceId()) == trace; s = c.spans[string(s.GetParentSpanId())] {
			names = append([]string{s.GetName()}, names...)
			about = about || text(s.GetAttributes(), "k8s.namespace.name") == namespace
		}
		if line := strings.Join(names, " > "); about && len(line) > len(best) {
			best = line
		}
	}
	return best
}

// TestTelemetry follows work through all that Sluice tells of it: one trace from
// the family's read to the write, the figures at a collector, what `kubectl
// describe` shows, the whole decision at the leader's port, and its log.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	r := row{object: object{t, namespace(t), "told"}, script: startScript(t)}
	r.start(0, nil)
	r.set(50)
	r.waitReplicas(10)
	const because = "0 to 10 replicas: s0-count 50 at 5 asks for 10"
	t.Run("a read, the decision and the write are one trace", func(t *testing.T) {
		t.Parallel()
		const want = "read external-push > decide > write replicas"
		wait(t, want, func() (bool, string) {
			have := world.collector.line("write replicas", r.namespace)
			return have == want, have
		})
	})
	t.Run("figures reach a collector", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"keda.scaler.metrics.value", "keda.scaler.active", "keda.resource.registered.count", "keda.scaledobject.errors"} {
			wait(t, name, func() (bool, string) { return world.collector.has(name + " " + r.namespace), "it did not come" })
		}
	})
	t.Run("kubectl describe shows the decision", func(t *testing.T) {
		t.Parallel()
		wait(t, because, func() (bool, string) {
			out, err := exec.CommandContext(t.Context(), world.cluster.Kubectl(), //nolint:gosec // the cluster's own
				"--kubeconfig", world.cluster.Kubeconfig(), "describe", "so", "-n", r.namespace, r.name).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return strings.Contains(string(out), "Decisions:") && strings.Contains(string(out), because), string(out)
		})
	})
	t.Run("the controller that leads has the whole decision, and a standby names it", func(t *testing.T) {
		t.Parallel()
		wait(t, "the record", func() (bool, string) {
			leads := leader(t)
			for _, i := range world.cluster.Instances("controller") {
				if _, err := decisions(t, i, r.object); i.Name() != leads.Name() && (err == nil || !strings.Contains(err.Error(), "ask "+leads.Name())) {
					return false, fmt.Sprintf("%s says %v", i.Name(), err)
				}
			}
			answer, err := decisions(t, leads, r.object)
			if err != nil {
				return false, err.Error()
			}
			var have struct {
				Last    map[string]any
				Changes []struct{ Message string }
			}
			if err := json.Unmarshal(answer, &have); err != nil {
				t.Fatalf("%v: %s", err, answer)
			}
			told := string(answer)
			return len(have.Changes) > 0 && strings.HasPrefix(have.Changes[len(have.Changes)-1].Message, because) &&
				strings.Contains(told, "s0-count") && strings.Contains(told, `"confirmed"`), told
		})
	})
	t.Run("each change of replicas is one line of the log", func(t *testing.T) {
		t.Parallel()
		wait(t, "the line", func() (bool, string) {
			var lines []string
			for _, i := range world.cluster.Instances("controller") {
				lines = append(lines, linesOf(t, i, `"scaled"`, r.namespace)...)
			}
			return len(lines) == 1 && strings.Contains(lines[0], `"from":0,"to":10,"by":"controller","because":"`+because), strings.Join(lines, "")
		})
	})
}

// decisions asks a controller about an object, by kubectl port-forward.
func decisions(t *testing.T, i *localcluster.Instance, o object) ([]byte, error) {
	t.Helper()
	address, stop, err := i.PortForward(t.Context(), "metrics")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	address = fmt.Sprintf("http://%s/decisions?namespace=%s&name=%s", address, o.namespace, o.name)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}
