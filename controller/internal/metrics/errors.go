package metrics

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
)

// ofCollector and ofCounter are how many series a scrape has of what it makes of
// objects, and of each that is counted. A scrape takes 1.3 KiB for each.
var (
	ofCollector = series.Budget{OfOne: 50_000, InAll: 100_000}
	ofCounter   = series.Budget{OfOne: 12_500, InAll: 25_000}
)

// LeftOut tells of which namespaces the series are too many.
func LeftOut(log *slog.Logger) *series.LeftOut {
	return series.NewLeftOut("sluice_series_left_out", "Series that the last scrape did not tell of a namespace, which has too many of them.", log)
}

// names is how many metrics of a trigger, and of an object, have series: families
// name them as they like.
func names(out *series.LeftOut) series.Bounds {
	return series.Bounds{Part: v1alpha1.MostMetricsOfTrigger, Owner: v1alpha1.MostMetrics, Budget: &ofCounter, LeftOut: out}
}

// each is the bounds of what has one series for an object.
func each(out *series.LeftOut) series.Bounds {
	return series.Bounds{Part: 1, Owner: 1, Budget: &ofCounter, LeftOut: out}
}

// objectKey tells one object from the others; a ScaledJob and a ScaledObject may
// have one name.
type objectKey struct {
	kind string
	types.NamespacedName
}

// perName are series of the metrics of triggers, by their index.
type perName = series.Counters[objectKey, int]

// Errors counts failures of triggers, each once.
type Errors struct {
	trigger, object, job *perName
}

// NewErrors returns counters to be registered. Series that are too many are noted
// in out.
func NewErrors(out *series.LeftOut) *Errors {
	return &Errors{
		trigger: series.New[objectKey, int](names(out),
			"keda_scaler_detail_errors_total", "Failures of a trigger, at most one per polling interval.", perTrigger...),
		object: series.New[objectKey, int](each(out), "keda_scaled_object_errors_total", "Failures of an object's triggers.", perObject...),
		job:    series.New[objectKey, int](each(out), "keda_scaled_job_errors_total", "Failures of a ScaledJob's triggers.", perJob...),
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

// Failed counts n failures of one trigger; 0 makes its series appear. Those of
// metrics that it does not have any more end. A trigger whose metrics are not
// known is counted without their name.
func (e *Errors) Failed(so *v1alpha1.ScaledObject, index int, metrics []string, n int32) {
	e.failed(ofObject(so), index, metrics, n)
	e.object.Add(ofObject(so).key(), 0, float64(n), so.Namespace, so.Name)
}

func (e *Errors) failed(o owner, index int, metrics []string, n int32) {
	if len(metrics) > 0 {
		e.trigger.Keep(o.key(), index, o.perMetric(index, metrics)...)
	} else if n > 0 {
		metrics = []string{""}
	}
	for _, metric := range metrics {
		e.trigger.Add(o.key(), index, float64(n), o.labels(index, metric)...)
	}
}

// perMetric are the labels of a trigger's metrics.
func (o owner) perMetric(index int, metrics []string) [][]string {
	all := make([][]string, len(metrics))
	for i, metric := range metrics {
		all[i] = o.labels(index, metric)
	}
	return all
}

// ForgetTrigger drops the series of a trigger.
func (e *Errors) ForgetTrigger(object types.NamespacedName, index int) {
	e.trigger.ForgetPart(objectKey{kindObject, object}, index)
}

// Forget drops the series of an object.
func (e *Errors) Forget(object types.NamespacedName) {
	e.trigger.Forget(objectKey{kindObject, object})
	e.object.Forget(objectKey{kindObject, object})
}

// ForgetAll drops the series of every object.
func (e *Errors) ForgetAll() {
	e.trigger.Reset()
	e.object.Reset()
	e.job.Reset()
}
