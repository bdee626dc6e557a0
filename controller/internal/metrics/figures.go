package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
)

// Figures are what the activation loop measures of itself.
type Figures struct {
	late  *perName
	woken *prometheus.HistogramVec
	// nudged are HPAs that were made to look.
	nudged prometheus.Counter
	empty  *perName
	// wakes are those of objects with an objective, cold the last cold starts.
	wakes, cold *perName
	// failing are the ScaledJobs' Jobs that failed in a row.
	failing *perName
}

// NewFigures returns figures to be registered. Series that are too many are noted
// in out.
func NewFigures(out *series.LeftOut) *Figures {
	return &Figures{
		late: series.NewGauges[objectKey, int](each(out), "keda_internal_scale_loop_latency_seconds",
			"How late the last decision about an object was: since the reading that it followed from.", "namespace", "type", "resource"),
		woken: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sluice_event_to_replicas_seconds",
			Help:    "From the arrival of work, by its source's own clock, to the write that woke the target.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"type"}),
		nudged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_hpa_nudges_total",
			Help: "HPAs that were made to look at their metrics at once, because what was read asks for more replicas.",
		}),
		failing: series.NewGauges[objectKey, int](each(out), "sluice_scaled_job_failures_in_a_row",
			"The newest of a ScaledJob's Jobs that have ended and are kept, as long as all of them failed.", perJob...),
		wakes: series.New[objectKey, int](each(out), "sluice_scaled_object_wakes_total",
			"Rises from rest of objects with an objective: whether replicas were written in time, counted from the arrival of work.",
			"namespace", "scaledObject", "objective"),
		cold: series.NewGauges[objectKey, int](each(out), "sluice_scaled_object_cold_start_seconds",
			"From the arrival of work while there was no replica to the first ready one, at the last such wake.", perObject...),
		empty: series.New[objectKey, int](names(out),
			"keda_scaler_empty_upstream_responses_total", "Readings in which the source answered but had nothing to say.",
			"namespace", "scaledResource", "triggerName", "metricName", "resourceType", "ignoreNullValues"),
	}
}

// Describe implements prometheus.Collector.
func (f *Figures) Describe(ch chan<- *prometheus.Desc) {
	f.late.Describe(ch)
	f.woken.Describe(ch)
	f.nudged.Describe(ch)
	f.empty.Describe(ch)
	f.failing.Describe(ch)
	f.wakes.Describe(ch)
	f.cold.Describe(ch)
}

// Collect implements prometheus.Collector.
func (f *Figures) Collect(ch chan<- prometheus.Metric) {
	f.late.Collect(ch)
	f.woken.Collect(ch)
	f.nudged.Collect(ch)
	f.empty.Collect(ch)
	f.failing.Collect(ch)
	f.wakes.Collect(ch)
	f.cold.Collect(ch)
}

// Decided takes how late the last decision about an object was.
func (f *Figures) Decided(so *v1alpha1.ScaledObject, late time.Duration) {
	f.late.Set(ofObject(so).key(), 0, late.Seconds(), so.Namespace, kindObject, so.Name)
}

// Woken takes one rise from rest.
func (f *Figures) Woken(triggerType string, after time.Duration) {
	f.woken.WithLabelValues(triggerType).Observe(after.Seconds())
}

// Nudged takes one HPA that was made to look.
func (f *Figures) Nudged() { f.nudged.Inc() }

// verdicts are what may become of a wake, judged by its object's objective. It is not
// known where the source does not tell when the work arrived. Each is a part of its
// object.
var verdicts = []string{met: "met", missed: "missed", unknown: "unknown"}

const (
	met = iota
	missed
	unknown
)

// Objective has the wakes of an object told of that has an objective, and of no
// other.
func (f *Figures) Objective(so *v1alpha1.ScaledObject) {
	key := ofObject(so).key()
	if objective, err := so.WakeObjective(); objective == 0 || err != nil {
		f.wakes.Forget(key)
		return
	}
	for part, verdict := range verdicts {
		f.wakes.Add(key, part, 0, so.Namespace, so.Name, verdict)
	}
}

// Woke judges a rise from rest by the object's objective.
func (f *Figures) Woke(so *v1alpha1.ScaledObject, after time.Duration, told bool) {
	objective, err := so.WakeObjective()
	if objective == 0 || err != nil {
		return
	}
	verdict := met
	switch {
	case !told:
		verdict = unknown
	case after > objective:
		verdict = missed
	}
	f.wakes.Add(ofObject(so).key(), verdict, 1, so.Namespace, so.Name, verdicts[verdict])
}

// Started takes how long work that arrived at zero waited for a ready replica.
func (f *Figures) Started(so *v1alpha1.ScaledObject, after time.Duration) {
	f.cold.Set(ofObject(so).key(), 0, after.Seconds(), so.Namespace, so.Name)
}

// Read takes a reading of a trigger with its metrics, and counts it where it was
// empty. The series of metrics that the trigger does not have any more end.
func (f *Figures) Read(so *v1alpha1.ScaledObject, trigger int, metrics []string, empty bool) {
	f.read(ofObject(so), trigger, metrics, empty)
}

func (f *Figures) read(o owner, index int, metrics []string, empty bool) {
	spec := o.triggers[index]
	// Absent, it is true for the triggers that have it.
	ignored, err := strconv.ParseBool(spec.Metadata["ignoreNullValues"])
	ignored = ignored || err != nil
	all := make([][]string, len(metrics))
	for i, metric := range metrics {
		all[i] = []string{o.id.Namespace, o.id.Name, scalerOf(spec), metric, o.kind, strconv.FormatBool(ignored)}
	}
	f.empty.Keep(o.key(), index, all...)
	if !empty {
		return
	}
	for _, labels := range all {
		f.empty.Add(o.key(), index, 1, labels...)
	}
}

// ForgetTrigger drops the series of a trigger.
func (f *Figures) ForgetTrigger(object types.NamespacedName, index int) {
	f.empty.ForgetPart(objectKey{kindObject, object}, index)
}

// Forget drops the series of an object.
func (f *Figures) Forget(object types.NamespacedName) { f.forget(objectKey{kindObject, object}) }

func (f *Figures) forget(object objectKey) {
	f.late.Forget(object)
	f.empty.Forget(object)
	f.failing.Forget(object)
	f.wakes.Forget(object)
	f.cold.Forget(object)
}

// ForgetAll drops the series of every object.
func (f *Figures) ForgetAll() {
	f.late.Reset()
	f.empty.Reset()
	f.failing.Reset()
	f.wakes.Reset()
	f.cold.Reset()
}
