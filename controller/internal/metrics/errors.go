package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

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

// Failed counts n failures of one trigger; 0 makes its series appear. A trigger
// whose metrics are not known yet is counted without their name.
func (e *Errors) Failed(so *v1alpha1.ScaledObject, index int, metrics []string, n int32) {
	if len(metrics) == 0 && n > 0 {
		metrics = []string{""}
	}
	for _, metric := range metrics {
		e.trigger.WithLabelValues(triggerLabels(so, index, metric)...).Add(float64(n))
	}
	e.object.WithLabelValues(so.Namespace, so.Name).Add(float64(n))
}

// ForgetTrigger drops the series of a trigger.
func (e *Errors) ForgetTrigger(object types.NamespacedName, index int) {
	e.trigger.DeletePartialMatch(prometheus.Labels{
		"namespace": object.Namespace, "scaledObject": object.Name, "triggerIndex": strconv.Itoa(index),
	})
}

// Forget drops the series of an object.
func (e *Errors) Forget(object types.NamespacedName) {
	labels := prometheus.Labels{"namespace": object.Namespace, "scaledObject": object.Name}
	e.trigger.DeletePartialMatch(labels)
	e.object.DeletePartialMatch(labels)
}

// ForgetAll drops the series of every object.
func (e *Errors) ForgetAll() {
	e.trigger.Reset()
	e.object.Reset()
}
