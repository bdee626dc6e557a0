package tracing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// receiver is an OpenTelemetry collector in memory, over real gRPC.
type receiver struct {
	collectortrace.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracev1.Span
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

func TestReadsAreTraced(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, server := &receiver{}, grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	on := map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
	provider, stop, err := Provider(t.Context(), "wells", "v1", func(name string) string { return on[name] })
	if err != nil {
		t.Fatal(err)
	}
	tracer := provider.Tracer("test")
	good := Read{Type: "well", At: time.Now(), Took: time.Second, Outcome: scalerv1.Outcome_OUTCOME_VALUE}.Trace(tracer)
	Read{Type: "well", At: time.Now(), Outcome: scalerv1.Outcome_OUTCOME_ERROR, Err: errors.New("dry")}.Trace(tracer)
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if len(r.spans) != 2 {
		t.Fatalf("received %v", r.spans)
	}
	read, failed := r.spans[0], r.spans[1]
	if lasted := time.Duration(read.GetEndTimeUnixNano() - read.GetStartTimeUnixNano()); read.GetName() != "read well" || lasted != time.Second { //nolint:gosec // a short time
		t.Errorf("span %s lasted %v", read.GetName(), lasted)
	}
	if want := fmt.Sprintf("00-%x-%x-01", read.GetTraceId(), read.GetSpanId()); good != want {
		t.Errorf("trace context %s, want %s", good, want)
	}
	if failed.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("status %v", failed.GetStatus())
	}
}

func TestReadsAreNotTracedUnlessAskedFor(t *testing.T) {
	provider, _, err := Provider(t.Context(), "wells", "v1", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	read := Read{Type: "well", At: time.Now(), Outcome: scalerv1.Outcome_OUTCOME_VALUE}
	if told := read.Trace(provider.Tracer("test")); told != "" {
		t.Errorf("trace context %q", told)
	}
	off, stop, err := Provider(t.Context(), "wells", "v1", func(string) string { return "zipkin" })
	if err == nil || err.Error() != `OTEL_TRACES_EXPORTER: "zipkin" is neither otlp nor none` || off != untraced || stop(t.Context()) != nil {
		t.Errorf("provider %v, error %v", off, err)
	}
}
