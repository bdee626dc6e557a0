package telemetry

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// receiver is an OpenTelemetry collector in memory, over real gRPC.
type receiver struct {
	collectortrace.UnimplementedTraceServiceServer
	mu      sync.Mutex
	spans   []*tracev1.Span
	metrics []*metricsv1.Metric
}

func (r *receiver) Export(_ context.Context, request *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

// metricsReceiver is the receiver's other service: both have a method Export.
type metricsReceiver struct {
	collectormetrics.UnimplementedMetricsServiceServer
	*receiver
}

func (r metricsReceiver) Export(_ context.Context, request *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.GetResourceMetrics() {
		for _, scope := range resource.GetScopeMetrics() {
			r.metrics = append(r.metrics, scope.GetMetrics()...)
		}
	}
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

// receive starts a receiver and points the SDK's variables at it.
func receive(t *testing.T) *receiver {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, server := &receiver{}, grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(server, r)
	collectormetrics.RegisterMetricsServiceServer(server, metricsReceiver{receiver: r})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	return r
}

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestTracesAreOffUnlessAskedFor(t *testing.T) {
	for _, exporter := range []string{"", "none"} {
		provider, err := Traces(t.Context(), "v1", env(map[string]string{"OTEL_TRACES_EXPORTER": exporter}))
		if provider != nil || err != nil {
			t.Errorf("%q: %v, %v", exporter, provider, err)
		}
	}
	_, err := Traces(t.Context(), "v1", env(map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}))
	if err == nil || err.Error() != `OTEL_TRACES_EXPORTER: "zipkin" is neither otlp nor none` {
		t.Errorf("error %v", err)
	}
}

func TestTracesAreReceived(t *testing.T) {
	r := receive(t)
	provider, err := Traces(t.Context(), "v1", env(map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "decide", trace.WithNewRoot())
	span.End()
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.spans) != 1 || r.spans[0].GetName() != "decide" {
		t.Errorf("received %v", r.spans)
	}
}

func TestMetricsAreThoseOfThePrometheusEndpoint(t *testing.T) {
	r := receive(t)
	registry := prometheus.NewPedanticRegistry()
	gauges := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keda_scaler_metrics_latency_seconds", Help: "h"},
		[]string{"namespace", "metric", "scaledObject", "scaler", "triggerIndex", "type"})
	gauges.WithLabelValues("shop", "s0-m", "worker", "kafkaScaler", "0", "scaledobject").Set(.25)
	empty := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keda_scaler_empty_upstream_responses_total", Help: "h"},
		[]string{"resourceType", "ignoreNullValues"})
	empty.WithLabelValues("scaledobject", "false").Add(3)
	triggers := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keda_trigger_registered_total", Help: "h"}, []string{"type"})
	triggers.WithLabelValues("kafka").Set(2)
	registry.MustRegister(gauges, empty, triggers)

	provider, err := Metrics(t.Context(), "v1", env(map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := Observe(provider, registry); err != nil {
		t.Fatal(err)
	}
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := map[string]*metricsv1.NumberDataPoint{}
	for _, m := range r.metrics {
		points := slices.Concat(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints())
		told[m.GetName()+" "+m.GetUnit()] = points[0]
	}
	names := []string{
		"keda.scaler.empty.upstream.responses ", "keda.scaler.metrics.latency ms", "keda.scaler.metrics.latency.seconds s",
		"keda.trigger.registered.count ", "keda.trigger.totals ",
	}
	if have := slices.Sorted(maps.Keys(told)); !slices.Equal(have, names) {
		t.Fatalf("received %v, want %v", have, names)
	}
	for name, want := range map[string]float64{names[0]: 3, names[1]: 250, names[2]: .25, names[3]: 2, names[4]: 2} {
		if have := told[name].GetAsDouble(); have != want {
			t.Errorf("%s is %v, want %v", name, have, want)
		}
	}
	attributes := func(name string) map[string]*commonv1.AnyValue {
		all := map[string]*commonv1.AnyValue{}
		for _, a := range told[name].GetAttributes() {
			all[a.GetKey()] = a.GetValue()
		}
		return all
	}
	if a := attributes(names[2]); len(a) != 5 || a["scalerIndex"].GetStringValue() != "0" || a["metric"].GetStringValue() != "s0-m" {
		t.Errorf("attributes of a trigger: %v", a)
	}
	if a := attributes(names[0]); !a["isScaledObject"].GetBoolValue() || a["ignoreNullValues"].GetBoolValue() {
		t.Errorf("attributes of an empty response: %v", a)
	}
}
