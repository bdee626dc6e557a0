package scaler

import (
	"context"

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

// trace makes the span of a completed read and returns its trace context for
// whoever acts on it; "" when the read is not sampled. The span is a root: a
// read is shared, and belongs to no request.
//
//nolint:contextcheck,nolintlint // its callers are meant, which nolintlint does not see
func (s *sampler) trace(triggerType string, snap *snapshot) string {
	ctx, span := s.tracer.Start(context.Background(), "read "+triggerType,
		trace.WithTimestamp(snap.at.Add(-snap.took)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("sluice.trigger.type", triggerType),
			attribute.String("sluice.outcome", metrics.OutcomeLabel(snap.outcome)),
			attribute.String("sluice.cause", metrics.CauseLabel(snap.detection)),
		))
	if snap.outcome == scalerv1.Outcome_OUTCOME_ERROR {
		span.SetStatus(codes.Error, failure.Status(triggerType, snap.err).Message())
	}
	span.End(trace.WithTimestamp(snap.at))
	if !span.SpanContext().IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}
