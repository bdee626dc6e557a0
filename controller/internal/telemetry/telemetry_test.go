package telemetry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
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

// TestNoNamespaceHidesAnother has more series than the SDK tells of by default: a
// namespace that has most of them is no reason to leave out the rest.
func TestNoNamespaceHidesAnother(t *testing.T) {
	r := receive(t)
	registry := prometheus.NewPedanticRegistry()
	paused := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keda_scaled_object_paused", Help: "h"}, []string{"namespace", "scaledObject"})
	for i := range 5000 {
		paused.WithLabelValues("large", fmt.Sprint("worker-", i)).Set(0)
	}
	paused.WithLabelValues("small", "worker").Set(1)
	registry.MustRegister(paused)
	provider, err := Metrics(t.Context(), "v1", env(map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Observe(provider, registry), provider.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	points, named := 0, 0
	for _, m := range r.metrics {
		for _, point := range m.GetGauge().GetDataPoints() {
			points++
			if len(point.GetAttributes()) == 2 {
				named++
			}
		}
	}
	if points != 5001 || named != 5001 {
		t.Errorf("%d series are told, %d of them by name, want 5001", points, named)
	}
}

// TestInstruments holds names, kinds, units and attributes, one row each.
func TestInstruments(t *testing.T) {
	const trigger = "namespace metric scaledObject scaler triggerIndex type="
	registry := prometheus.NewPedanticRegistry()
	for _, series := range []string{ // "name label=value...", a value only where it matters
		"gauge keda_build_info version git_commit goversion goos goarch",
		"gauge keda_scaler_metrics_value " + trigger + "scaledobject", "gauge keda_scaler_metrics_value " + trigger + "scaledjob",
		"gauge keda_scaler_metrics_latency_seconds " + trigger + "scaledobject", "gauge keda_scaler_metrics_latency_seconds " + trigger + "scaledjob",
		"gauge keda_scaler_active " + trigger + "scaledobject", "gauge keda_scaler_active " + trigger + "scaledjob",
		"counter keda_scaler_detail_errors_total " + trigger + "scaledobject", "counter keda_scaler_detail_errors_total " + trigger + "scaledjob",
		"counter keda_scaled_object_errors_total namespace scaledObject", "counter keda_scaled_job_errors_total namespace scaledJob",
		"gauge keda_scaled_object_paused namespace scaledObject",
		"counter keda_scaler_empty_upstream_responses_total namespace scaledResource triggerName metricName resourceType ignoreNullValues",
		"gauge keda_trigger_registered_total type", "gauge keda_resource_registered_total type namespace",
		"gauge keda_internal_scale_loop_latency_seconds namespace type=scaledjob resource",
		"counter keda_cloudeventsource_events_emitted_total namespace cloudeventsource eventsink state",
		"gauge keda_cloudeventsource_events_queued namespace",
		"gauge sluice_keda_leads",
	} {
		words := strings.Fields(series)
		labels := prometheus.Labels{}
		for _, label := range words[2:] {
			name, value, _ := strings.Cut(label, "=")
			labels[name] = value
		}
		var one prometheus.Collector = prometheus.NewGauge(prometheus.GaugeOpts{Name: words[1], Help: "h", ConstLabels: labels})
		if words[0] == "counter" {
			one = prometheus.NewCounter(prometheus.CounterOpts{Name: words[1], Help: "h", ConstLabels: labels})
		}
		if err := registry.Register(one); err != nil {
			t.Fatal(err)
		}
	}
	r := receive(t)
	provider, err := Metrics(t.Context(), "v1", env(map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Observe(provider, registry), provider.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	const (
		ofObjects = " metric namespace scaledObject scaler scalerIndex"
		ofJobs    = " metric namespace scaledJob scaler triggerIndex"
	)
	want := []string{
		"gauge keda.build.info git_commit goarch goos goversion version",
		"gauge keda.scaler.metrics.value" + ofObjects, "gauge keda.scaler.metrics.value" + ofJobs,
		"gauge keda.scaler.metrics.latency.seconds[s]" + ofObjects, "gauge keda.scaler.metrics.latency.seconds[s]" + ofJobs,
		"gauge keda.scaler.metrics.latency[ms]" + ofObjects, "gauge keda.scaler.metrics.latency[ms]" + ofJobs,
		"gauge keda.scaler.active" + ofObjects, "gauge keda.scaler.active" + ofJobs,
		"counter keda.scaler.errors" + ofObjects, "counter keda.scaler.errors" + ofJobs,
		"counter keda.scaledobject.errors namespace scaledObject",
		"counter keda.scaledjob.errors namespace scaledJob",
		"gauge keda.scaled.object.paused namespace scaledObject",
		"gauge keda.internal.scale.loop.latency.seconds[s] name namespace type",
		"gauge keda.internal.scale.loop.latency[ms] name namespace type",
		"up-down counter keda.trigger.registered.count type", "up-down counter keda.trigger.totals type",
		"up-down counter keda.resource.registered.count namespace type", "up-down counter keda.resource.totals namespace type",
		"counter keda.scaler.empty.upstream.responses ignoreNullValues isScaledObject metricName namespace scaledResource triggerName",
		"counter keda.cloudeventsource.events.emitted.count cloudEventSource eventsink namespace state",
		"gauge keda.cloudeventsource.events.queued namespace",
	}
	var have []string
	for _, m := range r.metrics {
		what := "gauge"
		switch {
		case m.GetSum().GetIsMonotonic():
			what = "counter"
		case m.GetSum() != nil:
			what = "up-down counter"
		}
		what += " " + m.GetName()
		if m.GetUnit() != "" {
			what += "[" + m.GetUnit() + "]"
		}
		for _, point := range slices.Concat(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()) {
			var attributes []string
			for _, a := range point.GetAttributes() {
				attributes = append(attributes, a.GetKey())
			}
			slices.Sort(attributes)
			have = append(have, strings.Join(append([]string{what}, attributes...), " "))
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("received\n  %s\nwant\n  %s", strings.Join(have, "\n  "), strings.Join(want, "\n  "))
	}
}
