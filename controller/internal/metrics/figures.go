package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Figures are what the activation loop measures of itself.
type Figures struct {
	late  *prometheus.GaugeVec
	woken *prometheus.HistogramVec
	empty *prometheus.CounterVec
}

// NewFigures returns figures to be registered.
func NewFigures() *Figures {
	return &Figures{
		late: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keda_internal_scale_loop_latency_seconds",
			Help: "How late the last decision about an object was: since the reading that it followed from.",
		}, []string{"namespace", "type", "resource"}),
		woken: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sluice_event_to_replicas_seconds",
			Help:    "From the arrival of work, by its source's own clock, to the write that woke the target.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"type"}),
		empty: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_scaler_empty_upstream_responses_total",
			Help: "Readings in which the source answered but had nothing to say.",
		}, []string{"namespace", "scaledResource", "triggerName", "metricName", "resourceType", "ignoreNullValues"}),
	}
}

// Describe implements prometheus.Collector.
func (f *Figures) Describe(ch chan<- *prometheus.Desc) {
	f.late.Describe(ch)
	f.woken.Describe(ch)
	f.empty.Describe(ch)
}

// Collect implements prometheus.Collector.
func (f *Figures) Collect(ch chan<- prometheus.Metric) {
	f.late.Collect(ch)
	f.woken.Collect(ch)
	f.empty.Collect(ch)
}

// Decided takes how late the last decision about an object was.
func (f *Figures) Decided(so *v1alpha1.ScaledObject, late time.Duration) {
	f.late.WithLabelValues(so.Namespace, "scaledobject", so.Name).Set(late.Seconds())
}

// Woken takes one rise from rest.
func (f *Figures) Woken(triggerType string, after time.Duration) {
	f.woken.WithLabelValues(triggerType).Observe(after.Seconds())
}

// Empty counts a reading without data.
func (f *Figures) Empty(so *v1alpha1.ScaledObject, trigger int, metrics []string) {
	f.noData(ofObject(so), trigger, metrics)
}

func (f *Figures) noData(o owner, index int, metrics []string) {
	spec := o.triggers[index]
	// Absent, it is true for the triggers that have it.
	ignored, err := strconv.ParseBool(spec.Metadata["ignoreNullValues"])
	ignored = ignored || err != nil
	for _, metric := range metrics {
		f.empty.WithLabelValues(o.id.Namespace, o.id.Name, scalerOf(spec), metric, o.kind, strconv.FormatBool(ignored)).Inc()
	}
}

// Forget drops the series of an object.
func (f *Figures) Forget(object types.NamespacedName) { f.forget(object, "scaledobject") }

func (f *Figures) forget(object types.NamespacedName, kind string) {
	f.late.DeleteLabelValues(object.Namespace, kind, object.Name)
	f.empty.DeletePartialMatch(prometheus.Labels{"namespace": object.Namespace, "scaledResource": object.Name, "resourceType": kind})
}

// ForgetAll drops the series of every object.
func (f *Figures) ForgetAll() {
	f.late.Reset()
	f.empty.Reset()
}
