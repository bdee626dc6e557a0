package tracing

import (
	"context"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// untraced is what reads are told to while nobody asked for traces.
var untraced trace.TracerProvider = noop.NewTracerProvider()

// Read is one of a source.
type Read struct {
	Type    string
	At      time.Time // when it was completed
	Took    time.Duration
	Outcome scalerv1.Outcome
	Cause   scalerv1.Detection
	Err     error
}

// Trace makes the span of a read and returns its trace context for whoever acts
// on it; "" when the read is not sampled. The span is a root: a read is shared,
// and belongs to no request.
//
//nolint:contextcheck,nolintlint // its callers are meant, which nolintlint does not see
func (r Read) Trace(tracer trace.Tracer) string {
	ctx, span := tracer.Start(context.Background(), "read "+r.Type,
		trace.WithTimestamp(r.At.Add(-r.Took)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("sluice.trigger.type", r.Type),
			attribute.String("sluice.outcome", metrics.OutcomeLabel(r.Outcome)),
			attribute.String("sluice.cause", metrics.CauseLabel(r.Cause)),
		))
	if r.Outcome == scalerv1.Outcome_OUTCOME_ERROR {
		span.SetStatus(codes.Error, failure.Status(r.Type, r.Err).Message())
	}
	span.End(trace.WithTimestamp(r.At))
	if !span.SpanContext().IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}
