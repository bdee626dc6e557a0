package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Jobs takes for ScaledJobs what Errors and Figures take for ScaledObjects.
type Jobs struct {
	Errors  *Errors
	Figures *Figures
}

// Failed counts n failures of one trigger; 0 makes its series appear.
func (j Jobs) Failed(sj *v1alpha1.ScaledJob, index int, metrics []string, n int32) {
	j.Errors.failed(ofJob(sj), index, metrics, n)
	j.Errors.job.WithLabelValues(sj.Namespace, sj.Name).Add(float64(n))
}

// Decided takes how late the last decision about an object was.
func (j Jobs) Decided(sj *v1alpha1.ScaledJob, late time.Duration) {
	j.Figures.late.WithLabelValues(sj.Namespace, "scaledjob", sj.Name).Set(late.Seconds())
}

// Empty counts a reading without data.
func (j Jobs) Empty(sj *v1alpha1.ScaledJob, trigger int, metrics []string) {
	j.Figures.noData(ofJob(sj), trigger, metrics)
}

// ForgetTrigger drops the series of a trigger.
func (j Jobs) ForgetTrigger(object types.NamespacedName, index int) {
	j.Errors.forget(object, "scaledjob", prometheus.Labels{"triggerIndex": strconv.Itoa(index)})
}

// Forget drops the series of an object.
func (j Jobs) Forget(object types.NamespacedName) {
	j.Errors.forget(object, "scaledjob", prometheus.Labels{})
	j.Errors.job.DeleteLabelValues(object.Namespace, object.Name)
	j.Figures.forget(object, "scaledjob")
}
