package activation

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// spans are those of a decision and of the write that carries it out.
type spans struct{ decide, write trace.Span }

// trace begins the spans of a change of the replicas.
func (l *Loop) trace(ctx context.Context, so *v1alpha1.ScaledObject, e scaling.Explanation) (context.Context, spans) {
	provider := l.Traces
	if provider == nil {
		provider = noop.NewTracerProvider()
	}
	tracer := provider.Tracer("github.com/sluice-autoscaler/sluice/controller")
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": l.traceparent(so)})
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

// traceparent is the trace context of the newest reading that is active, or of
// the newest where none is.
func (l *Loop) traceparent(so *v1alpha1.ScaledObject) string {
	var best struct {
		active bool
		at     int64
		parent string
	}
	for i := range so.Spec.Triggers {
		state, ok := l.States(triggerID(so, i))
		if !ok || state.Traceparent == "" {
			continue
		}
		at := state.ObservedAt.UnixNano()
		if best.parent == "" || state.Active() && !best.active || state.Active() == best.active && at > best.at {
			best.active, best.at, best.parent = state.Active(), at, state.Traceparent
		}
	}
	return best.parent
}
