package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Errors counts failures of triggers, each once.
type Errors struct {
	trigger, object *prometheus.CounterVec
}

// NewErrors returns counters to be registered.
func NewErrors() *Errors {
	return &Errors{
		trigger: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_scaler_detail_errors_total", Help: "Failures of a trigger, at most one per polling interval.",
		}, perTrigger),
		object: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_scaled_object_errors_total", Help: "Failures of an object's triggers.",
		}, perObject),
	}
}

// Describe implements prometheus.Collector.
func (e *Errors) Describe(ch chan<- *prometheus.Desc) {
	e.trigger.Describe(ch)
	e.object.Describe(ch)
}

// Collect implements prometheus.Collector.
func (e *Errors) Collect(ch chan<- prometheus.Metric) {
	e.trigger.Collect(ch)
	e.object.Collect(ch)
}

// Failed counts n failures of one trigger; 0 makes the series appear.
func (e *Errors) Failed(so *v1alpha1.ScaledObject, index int, metric string, n int32) {
	spec := so.Spec.Triggers[index]
	scaler := spec.Name
	if scaler == "" {
		scaler = spec.Type
	}
	e.trigger.WithLabelValues(so.Namespace, metric, so.Name, scaler, strconv.Itoa(index), "scaledobject").Add(float64(n))
	e.object.WithLabelValues(so.Namespace, so.Name).Add(float64(n))
}

// Forget drops the series of an object.
func (e *Errors) Forget(namespace, name string) {
	labels := prometheus.Labels{"namespace": namespace, "scaledObject": name}
	e.trigger.DeletePartialMatch(labels)
	e.object.DeletePartialMatch(labels)
}
