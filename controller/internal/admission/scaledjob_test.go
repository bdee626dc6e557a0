package admission

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

const pathScaledJob = "/validate-keda-sh-v1alpha1-scaledjob"

func scaledJob(change ...func(*v1alpha1.ScaledJob)) *v1alpha1.ScaledJob {
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orders"},
		Spec: v1alpha1.ScaledJobSpec{
			JobTargetRef: &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}},
			Triggers:     []v1alpha1.ScaleTrigger{kafka()},
		},
	}
	for _, c := range change {
		c(sj)
	}
	return sj
}

func TestScaledJobs(t *testing.T) {
	jobTriggers := func(ts ...v1alpha1.ScaleTrigger) func(*v1alpha1.ScaledJob) {
		return func(sj *v1alpha1.ScaledJob) { sj.Spec.Triggers = ts }
	}
	rollout := func(s v1alpha1.RolloutStrategy) func(*v1alpha1.ScaledJob) {
		return func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = s }
	}
	const kept = "rollout.strategy: not given, so Jobs of the earlier spec run to their end; KEDA would delete them, as strategy immediate does here"
	tests := map[string]struct {
		object, old *v1alpha1.ScaledJob
		refusals    []string
		warnings    []string
	}{
		"least that is required": {object: scaledJob()},
		"T1 no trigger":          {object: scaledJob(jobTriggers()), refusals: []string{"triggers: none given"}},
		"T2 useCachedMetrics of cpu": {object: scaledJob(jobTriggers(cached(resourceTrigger("cpu")), kafka())),
			refusals: []string{"trigger 0 (cpu): useCachedMetrics: not supported by this type", "trigger 0 (cpu): metricType: not supported by a ScaledJob"}},
		"T3 the same name twice": {object: scaledJob(jobTriggers(named("a", kafka()), named("a", kafka()))),
			refusals: []string{`trigger 1 (kafka): name: "a" is already the name of trigger 0`}},
		"min above max": {object: scaledJob(func(sj *v1alpha1.ScaledJob) {
			sj.Spec.MinReplicaCount, sj.Spec.MaxReplicaCount = ptr.To[int32](5), ptr.To[int32](3)
		}), refusals: []string{"minReplicaCount: 5 exceeds maxReplicaCount 3"}},
		"all at once": {object: scaledJob(jobTriggers(), func(sj *v1alpha1.ScaledJob) {
			sj.Spec.MinReplicaCount, sj.Spec.JobTargetRef = ptr.To[int32](101), nil
		}), refusals: []string{"minReplicaCount: 101 exceeds maxReplicaCount 100", "triggers: none given", "jobTargetRef: missing"}},
		"metadata": {object: scaledJob(jobTriggers(kafka("lagTreshold", "5"))),
			warnings: []string{"trigger 0 (kafka): lagTreshold: unknown parameter, did you mean lagThreshold?"}},
		"changed, with KEDA's default":   {object: scaledJob(jobTriggers(kafka("lagThreshold", "5"))), old: scaledJob(), warnings: []string{kept}},
		"changed, with a strategy":       {object: scaledJob(rollout(v1alpha1.RolloutImmediate)), old: scaledJob()},
		"finalizer removed, never valid": {object: scaledJob(jobTriggers()), old: scaledJob(jobTriggers(), func(sj *v1alpha1.ScaledJob) { sj.Finalizers = []string{v1alpha1.Finalizer} })},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if tt.old == nil {
				f.want(f.ask(pathScaledJob, tt.object, nil), tt.refusals, tt.warnings)
				return
			}
			f.want(f.ask(pathScaledJob, tt.object, tt.old), tt.refusals, tt.warnings)
		})
	}
	t.Run("counted with ScaledObjects (note 11)", func(t *testing.T) {
		f := newFixture(t, scaledObject())
		f.ask(pathScaledJob, scaledJob(jobTriggers()), nil)
		if n := f.Counts.refusals.Of(namespace, whole{}, namespace, "create", rules.ReasonTriggers); n != 1 {
			t.Errorf("%v refusals counted", n)
		}
		if n := testutil.CollectAndCount(f.Counts.validations); n != 0 {
			t.Errorf("%d series of validations", n)
		}
	})
}
