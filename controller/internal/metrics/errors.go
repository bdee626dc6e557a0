package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Errors counts failures of triggers, each once.
type Errors struct {
	trigger, object, job *prometheus.CounterVec
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
		job: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_scaled_job_errors_total", Help: "Failures of a ScaledJob's triggers.",
		}, perJob),
	}
}

// Describe implements prometheus.Collector.
func (e *Errors) Describe(ch chan<- *prometheus.Desc) {
	e.trigger.Describe(ch)
	e.object.Describe(ch)
	e.job.Describe(ch)
}

// Collect implements prometheus.Collector.
func (e *Errors) Collect(ch chan<- prometheus.Metric) {
	e.trigger.Collect(ch)
	e.object.Collect(ch)
	e.job.Collect(ch)
}

// Failed counts n failures of one trigger; 0 makes its series appear. A trigger
// whose metrics are not known yet is counted without their name.
func (e *Errors) Failed(so *v1alpha1.ScaledObject, index int, metrics []string, n int32) {
	e.failed(ofObject(so), index, metrics, n)
	e.object.WithLabelValues(so.Namespace, so.Name).Add(float64(n))
}

func (e *Errors) failed(o owner, index int, metrics []string, n int32) {
	if len(metrics) == 0 && n > 0 {
		metrics = []string{""}
	}
	for _, metric := range metrics {
		e.trigger.WithLabelValues(o.labels(index, metric)...).Add(float64(n))
	}
}

// ForgetTrigger drops the series of a trigger.
func (e *Errors) ForgetTrigger(object types.NamespacedName, index int) {
	e.forget(object, "scaledobject", prometheus.Labels{"triggerIndex": strconv.Itoa(index)})
}

// Forget drops the series of an object.
func (e *Errors) Forget(object types.NamespacedName) {
	e.forget(object, "scaledobject", prometheus.Labels{})
	e.object.DeleteLabelValues(object.Namespace, object.Name)
}

func (e *Errors) forget(object types.NamespacedName, kind string, labels prometheus.Labels) {
	labels["namespace"], labels["scaledObject"], labels["type"] = object.Namespace, object.Name, kind
	e.trigger.DeletePartialMatch(labels)
}

// ForgetAll drops the series of every object.
func (e *Errors) ForgetAll() {
	e.trigger.Reset()
	e.object.Reset()
	e.job.Reset()
}
