package metrics

import (
	"time"

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
	j.Errors.job.Add(ofJob(sj).key(), 0, float64(n), sj.Namespace, sj.Name)
}

// Decided takes how late the last decision about an object was.
func (j Jobs) Decided(sj *v1alpha1.ScaledJob, late time.Duration) {
	j.Figures.late.Set(ofJob(sj).key(), 0, late.Seconds(), sj.Namespace, kindJob, sj.Name)
}

// Ended takes how many of the newest Jobs that have ended failed in a row.
func (j Jobs) Ended(sj *v1alpha1.ScaledJob, failed int) {
	j.Figures.failing.Set(ofJob(sj).key(), 0, float64(failed), sj.Namespace, sj.Name)
}

// Read takes a reading of a trigger with its metrics, and counts it where it was
// empty.
func (j Jobs) Read(sj *v1alpha1.ScaledJob, trigger int, metrics []string, empty bool) {
	j.Figures.read(ofJob(sj), trigger, metrics, empty)
}

// ForgetTrigger drops the series of a trigger.
func (j Jobs) ForgetTrigger(object types.NamespacedName, index int) {
	j.Errors.trigger.ForgetPart(objectKey{kindJob, object}, index)
	j.Figures.empty.ForgetPart(objectKey{kindJob, object}, index)
}

// Forget drops the series of an object.
func (j Jobs) Forget(object types.NamespacedName) {
	j.Errors.trigger.Forget(objectKey{kindJob, object})
	j.Errors.job.Forget(objectKey{kindJob, object})
	j.Figures.forget(objectKey{kindJob, object})
}
