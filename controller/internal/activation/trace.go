package activation

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// spans are those of a decision and of the write that carries it out.
type spans struct{ decide, write trace.Span }

// trace begins the spans of a change of the replicas.
func (l *Loop) trace(ctx context.Context, so *v1alpha1.ScaledObject, read []readings.Reading, e scaling.Explanation) (context.Context, spans) {
	provider := l.Traces
	if provider == nil {
		provider = noop.NewTracerProvider()
	}
	tracer := provider.Tracer("github.com/sluice-autoscaler/sluice/controller")
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": readings.Traceparent(read)})
	ctx, decide := tracer.Start(ctx, "decide", trace.WithTimestamp(e.Time), trace.WithAttributes(
		attribute.String("k8s.namespace.name", so.Namespace),
		attribute.String("sluice.scaledobject", so.Name),
		attribute.Int("sluice.replicas.from", int(*e.Replicas)),
		attribute.Int("sluice.replicas.to", int(*e.Write)),
		attribute.String("sluice.decision", e.String()),
	))
	ctx, write := tracer.Start(ctx, "write replicas", trace.WithSpanKind(trace.SpanKindClient))
	return ctx, spans{decide, write}
}

// done ends the spans.
func (s spans) done(err error) {
	if err != nil {
		s.write.SetStatus(codes.Error, err.Error())
	}
	s.write.End()
	s.decide.End()
}
