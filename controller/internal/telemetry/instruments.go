package telemetry

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// instrument is how a series of the Prometheus endpoint is called and shaped
// here. Both tell the same, since both are made from the same collectors.
type instrument struct {
	series string // at the Prometheus endpoint
	name   string
	unit   string
	kind   kind
	scale  float64 // from the series' unit to this one's
	labels map[string]string
	// ofJobs are the labels of ScaledJobs, where theirs are called otherwise.
	ofJobs map[string]string
}

type kind int

const (
	gauge kind = iota
	counter
	upDown
)

// Labels that are called otherwise here; "" leaves one out.
var (
	ofTrigger = map[string]string{"triggerIndex": "scalerIndex", "type": ""}
	ofJob     = map[string]string{"scaledObject": "scaledJob", "type": ""}
	ofLoop    = map[string]string{"resource": "name"}
	ofEmpty   = map[string]string{"resourceType": "isScaledObject"}
	ofSource  = map[string]string{"cloudeventsource": "cloudEventSource"}
)

// instruments are those of KEDA's operator, the deprecated ones included, less
// those of HTTP requests, which families make.
var instruments = []instrument{
	{series: "keda_build_info", name: "keda.build.info"},
	{series: "keda_scaler_metrics_value", name: "keda.scaler.metrics.value", labels: ofTrigger, ofJobs: ofJob},
	{series: "keda_scaler_metrics_latency_seconds", name: "keda.scaler.metrics.latency.seconds", unit: "s", labels: ofTrigger, ofJobs: ofJob},
	{series: "keda_scaler_metrics_latency_seconds", name: "keda.scaler.metrics.latency", unit: "ms", scale: 1000, labels: ofTrigger, ofJobs: ofJob},
	{series: "keda_scaler_active", name: "keda.scaler.active", labels: ofTrigger, ofJobs: ofJob},
	{series: "keda_scaler_detail_errors_total", name: "keda.scaler.errors", kind: counter, labels: ofTrigger, ofJobs: ofJob},
	{series: "keda_scaled_object_errors_total", name: "keda.scaledobject.errors", kind: counter},
	{series: "keda_scaled_job_errors_total", name: "keda.scaledjob.errors", kind: counter},
	{series: "keda_scaled_object_paused", name: "keda.scaled.object.paused"},
	{series: "keda_internal_scale_loop_latency_seconds", name: "keda.internal.scale.loop.latency.seconds", unit: "s", labels: ofLoop},
	{series: "keda_internal_scale_loop_latency_seconds", name: "keda.internal.scale.loop.latency", unit: "ms", scale: 1000, labels: ofLoop},
	{series: "keda_trigger_registered_total", name: "keda.trigger.registered.count", kind: upDown},
	{series: "keda_trigger_registered_total", name: "keda.trigger.totals", kind: upDown},
	{series: "keda_resource_registered_total", name: "keda.resource.registered.count", kind: upDown},
	{series: "keda_resource_registered_total", name: "keda.resource.totals", kind: upDown},
	{series: "keda_scaler_empty_upstream_responses_total", name: "keda.scaler.empty.upstream.responses", kind: counter, labels: ofEmpty},
	{series: "keda_cloudeventsource_events_emitted_total", name: "keda.cloudeventsource.events.emitted.count", kind: counter, labels: ofSource},
	{series: "keda_cloudeventsource_events_queued", name: "keda.cloudeventsource.events.queued"},
}

// Observe makes a meter tell what gatherer has, under the names of KEDA's
// OpenTelemetry metrics.
func Observe(meters metric.MeterProvider, gatherer prometheus.Gatherer) error {
	meter := meters.Meter("keda-open-telemetry-metrics")
	bySeries := map[string][]observed{}
	var all []metric.Observable
	for _, i := range instruments {
		o, err := i.create(meter)
		if err != nil {
			return err
		}
		bySeries[i.series] = append(bySeries[i.series], observed{i, o})
		all = append(all, o)
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		families, err := gatherer.Gather()
		for _, family := range families {
			for _, o := range bySeries[family.GetName()] {
				for _, m := range family.GetMetric() {
					to.ObserveFloat64(o.Float64Observable, o.valueOf(m), metric.WithAttributes(o.attributesOf(m)...))
				}
			}
		}
		return err
	}, all...)
	return err
}

type observed struct {
	instrument
	metric.Float64Observable
}

func (i instrument) create(meter metric.Meter) (metric.Float64Observable, error) {
	switch i.kind {
	case counter:
		return meter.Float64ObservableCounter(i.name, metric.WithUnit(i.unit))
	case upDown:
		return meter.Float64ObservableUpDownCounter(i.name, metric.WithUnit(i.unit))
	case gauge:
	}
	return meter.Float64ObservableGauge(i.name, metric.WithUnit(i.unit))
}

func (i instrument) valueOf(m *dto.Metric) float64 {
	value := m.GetGauge().GetValue() + m.GetCounter().GetValue() // a series is one of them
	if i.scale != 0 {
		value *= i.scale
	}
	return value
}

func (i instrument) attributesOf(m *dto.Metric) []attribute.KeyValue {
	var all []attribute.KeyValue
	labels := i.labels
	if i.ofJobs != nil && isOfJob(m) {
		labels = i.ofJobs
	}
	for _, l := range m.GetLabel() {
		name, renamed := labels[l.GetName()]
		switch {
		case !renamed:
			name = l.GetName()
		case name == "":
			continue
		}
		switch name {
		case "isScaledObject":
			all = append(all, attribute.Bool(name, l.GetValue() == "scaledobject"))
		case "ignoreNullValues":
			all = append(all, attribute.Bool(name, l.GetValue() == "true"))
		default:
			all = append(all, attribute.String(name, l.GetValue()))
		}
	}
	return all
}

func isOfJob(m *dto.Metric) bool {
	return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "type" && l.GetValue() == "scaledjob" })
}
