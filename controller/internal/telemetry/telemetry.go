// Package telemetry sends traces and metrics to an OpenTelemetry collector,
// where the user asks for it. Protocol, endpoint, headers, interval, sampler
// and resource follow OpenTelemetry's own variables (OTEL_*).
package telemetry

import (
	"cmp"
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// service is how the controller is called where the environment does not say.
const service = "keda-operator"

func resourceOf(ctx context.Context, version string) (*resource.Resource, error) {
	// What the environment says wins.
	named, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return named, nil
}

// Traces returns where spans go, nil unless the environment says
// OTEL_TRACES_EXPORTER=otlp. Whoever has it shuts it down.
func Traces(ctx context.Context, version string, getenv func(string) string) (*sdktrace.TracerProvider, error) {
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "", "none":
		return nil, nil
	case "otlp":
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is neither otlp nor none", exporter)
	}
	named, err := resourceOf(ctx, version)
	if err != nil {
		return nil, err
	}
	var exporter sdktrace.SpanExporter
	if overGRPC(getenv, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") {
		exporter, err = otlptracegrpc.New(ctx) //dials:administered a collector
	} else {
		exporter, err = otlptracehttp.New(ctx) //dials:administered a collector
	}
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(named)), nil
}

// Metrics returns what sends metrics until it is shut down.
func Metrics(ctx context.Context, version string, getenv func(string) string) (*sdkmetric.MeterProvider, error) {
	named, err := resourceOf(ctx, version)
	if err != nil {
		return nil, err
	}
	var exporter sdkmetric.Exporter
	if overGRPC(getenv, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") {
		exporter, err = otlpmetricgrpc.New(ctx) //dials:administered a collector
	} else {
		exporter, err = otlpmetrichttp.New(ctx) //dials:administered a collector
	}
	if err != nil {
		return nil, fmt.Errorf("export metrics: %w", err)
	}
	return sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)), sdkmetric.WithResource(named),
		// There are as many as at the Prometheus endpoint, where each object's are
		// bounded. A bound for all would have one namespace hide the others.
		sdkmetric.WithCardinalityLimit(0)), nil
}

func overGRPC(getenv func(string) string, own string) bool {
	return cmp.Or(getenv(own), getenv("OTEL_EXPORTER_OTLP_PROTOCOL")) == "grpc"
}
