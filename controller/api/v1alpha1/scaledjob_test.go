package v1alpha1

import (
	"errors"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func validJob() *ScaledJob {
	return &ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders"},
		Spec: ScaledJobSpec{
			JobTargetRef: &batchv1.JobSpec{Template: corev1.PodTemplateSpec{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "worker", Image: "worker"}}},
			}},
			Triggers: []ScaleTrigger{{Type: "rabbitmq", Metadata: map[string]string{}}},
		},
	}
}

func TestScaledJobValidate(t *testing.T) {
	tests := map[string]struct {
		change  func(*ScaledJob)
		message string // "" is valid
	}{
		"the least there is":   {change: func(*ScaledJob) {}},
		"no template":          {change: func(sj *ScaledJob) { sj.Spec.JobTargetRef = nil }, message: "jobTargetRef: missing"},
		"no containers":        {change: func(sj *ScaledJob) { sj.Spec.JobTargetRef.Template.Spec.Containers = nil }, message: "jobTargetRef.template.spec.containers: none given"},
		"no such container":    {change: func(sj *ScaledJob) { sj.Spec.EnvSourceContainerName = "x" }, message: `envSourceContainerName: jobTargetRef has no container "x"`},
		"min over max":         {change: func(sj *ScaledJob) { sj.Spec.MinReplicaCount = ptr(int32(101)) }, message: "minReplicaCount: 101 exceeds maxReplicaCount 100"},
		"no triggers":          {change: func(sj *ScaledJob) { sj.Spec.Triggers = nil }, message: "triggers: none given"},
		"cpu needs no type":    {change: func(sj *ScaledJob) { sj.Spec.Triggers[0].Type = "cpu" }},
		"name is no label":     {change: func(sj *ScaledJob) { sj.Name = strings.Repeat("a", 64) }, message: "metadata.name: 64 characters, a ScaledJob may have 63"},
		"fallback over max":    {change: func(sj *ScaledJob) { sj.Spec.Fallback = &JobFallback{Replicas: 101} }, message: "fallback.replicas: 101 exceeds maxReplicaCount 100"},
		"bad doorbell":         {change: func(sj *ScaledJob) { sj.Annotations = map[string]string{AnnotationDoorbell: "loud"} }, message: `annotation sluice.dev/doorbell: "loud" is neither on nor off`},
		"unusable percentage":  {change: func(sj *ScaledJob) { sj.Spec.ScalingStrategy.CustomScalingRunningJobPercentage = "half" }},
		"all problems at once": {change: func(sj *ScaledJob) { sj.Spec.JobTargetRef, sj.Spec.Triggers = nil, nil }, message: "jobTargetRef: missing\ntriggers: none given"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := validJob()
			tt.change(sj)
			got := ""
			if err := sj.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.message {
				t.Errorf("%q, want %q", got, tt.message)
			}
		})
	}
}

func TestWhatIsWrongWithOneTriggerOfAJobIsItsOwn(t *testing.T) {
	tests := map[string]struct {
		trigger ScaleTrigger
		want    string
	}{
		"a metric type": {ScaleTrigger{Type: "kafka", MetricType: "Value"}, "trigger 1 (kafka): metricType: not supported by a ScaledJob"},
		"cached cron":   {ScaleTrigger{Type: "cron", UseCachedMetrics: true}, "trigger 1 (cron): useCachedMetrics: not supported by this type"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := validJob()
			sj.Spec.Triggers = append(sj.Spec.Triggers, tt.trigger)
			if err := errors.Join(sj.Validate(), sj.TriggerProblem(0)); err != nil {
				t.Errorf("the object: %v", err)
			}
			if err := sj.ValidateTriggers(); err == nil || err.Error() != tt.want || sj.TriggerProblem(1) == nil {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestScaledJobDefaults(t *testing.T) {
	sj := validJob()
	if sj.PollingInterval().Seconds() != 30 || sj.MinJobs() != 0 || sj.MaxJobs() != 100 || sj.SuccessfulJobsKept() != 100 ||
		sj.FailedJobsKept() != 100 || sj.Strategy() != StrategyDefault || sj.Calculation() != CalculateMax || sj.Paused() {
		t.Errorf("defaults of %+v", sj.Spec)
	}
	sj.Spec.SuccessfulJobsHistoryLimit = ptr(int32(0))
	if sj.SuccessfulJobsKept() != 0 {
		t.Error("a limit of 0 was taken for none")
	}
	sj.Annotations = map[string]string{AnnotationPaused: "", AnnotationJobExcludedLabels: "a, b"}
	if !sj.Paused() {
		t.Error("an annotation that is no bool does not count as true")
	}
	if got := sj.JobExcludedLabels(); len(got) != 2 || !got.Has(" b") {
		t.Errorf("excluded labels %q", got)
	}
}

func TestCustomStrategyNeedsAPercentage(t *testing.T) {
	for text, want := range map[string]JobStrategy{"0.5": StrategyCustom, "0": StrategyCustom, "": StrategyDefault, "half": StrategyDefault, "NaN": StrategyDefault} {
		sj := validJob()
		sj.Spec.ScalingStrategy = JobScalingStrategy{Strategy: StrategyCustom, CustomScalingRunningJobPercentage: text}
		if got := sj.Strategy(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestRunningJobsAreReplacedOnlyWhenAsked(t *testing.T) {
	tests := map[string]struct {
		old      RolloutStrategy
		rollout  Rollout
		replaces bool
		how      metav1.DeletionPropagation
	}{
		"nothing said":   {how: metav1.DeletePropagationBackground},
		"gradual":        {rollout: Rollout{Strategy: RolloutGradual}, how: metav1.DeletePropagationBackground},
		"immediate":      {rollout: Rollout{Strategy: RolloutImmediate}, replaces: true, how: metav1.DeletePropagationBackground},
		"older spelling": {old: RolloutImmediate, replaces: true, how: metav1.DeletePropagationBackground},
		"older one wins": {old: RolloutGradual, rollout: Rollout{Strategy: RolloutImmediate}, how: metav1.DeletePropagationBackground},
		"in the foreground": {rollout: Rollout{Strategy: RolloutImmediate, PropagationPolicy: "foreground"}, replaces: true,
			how: metav1.DeletePropagationForeground},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := validJob()
			sj.Spec.RolloutStrategy, sj.Spec.Rollout = tt.old, tt.rollout
			if sj.ReplacesJobs() != tt.replaces || sj.RolloutPropagation() != tt.how {
				t.Errorf("replaces %v by %s", sj.ReplacesJobs(), sj.RolloutPropagation())
			}
		})
	}
}
