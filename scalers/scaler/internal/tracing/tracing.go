// Package tracing sends the spans of reads to a collector.
package tracing

import (
	"cmp"
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Provider returns where the spans of reads go. It is off unless the environment
// says OTEL_TRACES_EXPORTER=otlp; protocol, endpoint, headers, sampler and the
// rest follow OpenTelemetry's own variables. stop sends what is left. What cannot
// be set up is off as well, and the error says why: reads go on.
func Provider(ctx context.Context, family, version string, getenv func(string) string) (provider trace.TracerProvider, stop func(context.Context) error, err error) {
	off := func(context.Context) error { return nil }
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "", "none":
		return untraced, off, nil
	case "otlp":
	default:
		return untraced, off, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is neither otlp nor none", exporter)
	}
	var exporter sdktrace.SpanExporter
	if cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL")) == "grpc" {
		exporter, err = otlptracegrpc.New(ctx) //dials:administered a collector
	} else {
		exporter, err = otlptracehttp.New(ctx) //dials:administered a collector
	}
	if err != nil {
		return untraced, off, fmt.Errorf("export traces: %w", err)
	}
	// What the environment says of the resource wins.
	named, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "scaler-"+family), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return untraced, off, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	sdk := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(named))
	return sdk, sdk.Shutdown, nil
}
