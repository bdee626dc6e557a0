package v1alpha1

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

const (
	// LabelScaledJobName is on every Job of a ScaledJob and on its Pods.
	LabelScaledJobName = "scaledjob.keda.sh/name"
	// AnnotationScaledJobGeneration is on every Job: the generation of the
	// ScaledJob that created it.
	AnnotationScaledJobGeneration = "scaledjob.keda.sh/generation"
	// AnnotationJobExcludedLabels are keys of labels that are not copied to
	// Jobs.
	AnnotationJobExcludedLabels = "scaledjob.keda.sh/job-excluded-labels"
)

// defaultHistoryLimit is how many finished Jobs of a kind are kept.
const defaultHistoryLimit = 100

// longestJobOwner is what a label value may be: every Job carries its
// ScaledJob's name as one.
const longestJobOwner = 63

// PollingInterval is the time between two readings. Default 30 s.
func (sj *ScaledJob) PollingInterval() time.Duration {
	return seconds(sj.Spec.PollingInterval, defaultPollingInterval)
}

// MinJobs is the number of Jobs kept running. Default 0.
func (sj *ScaledJob) MinJobs() int32 { return orElse(sj.Spec.MinReplicaCount, 0) }

// MaxJobs is the largest number of running Jobs. Default 100.
func (sj *ScaledJob) MaxJobs() int32 { return orElse(sj.Spec.MaxReplicaCount, defaultMaxReplicas) }

// SuccessfulJobsKept is how many complete Jobs are kept. Default 100.
func (sj *ScaledJob) SuccessfulJobsKept() int {
	return int(orElse(sj.Spec.SuccessfulJobsHistoryLimit, defaultHistoryLimit))
}

// FailedJobsKept is how many failed Jobs are kept. Default 100.
func (sj *ScaledJob) FailedJobsKept() int {
	return int(orElse(sj.Spec.FailedJobsHistoryLimit, defaultHistoryLimit))
}

// ReplacesJobs reports whether a changed spec deletes the Jobs of an earlier
// one. Nothing that runs is killed unless the user says so; KEDA does it unless
// the user says gradual.
func (sj *ScaledJob) ReplacesJobs() bool {
	strategy := sj.Spec.RolloutStrategy
	if strategy == "" {
		strategy = sj.Spec.Rollout.Strategy
	}
	return strategy == RolloutImmediate
}

// RolloutPropagation is how ReplacesJobs deletes. Default background.
func (sj *ScaledJob) RolloutPropagation() metav1.DeletionPropagation {
	if sj.Spec.Rollout.PropagationPolicy == "foreground" {
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

// Strategy is the formula in force: custom without a usable percentage is
// default.
func (sj *ScaledJob) Strategy() JobStrategy {
	switch s := sj.Spec.ScalingStrategy.Strategy; s {
	case "":
		return StrategyDefault
	case StrategyCustom:
		if _, ok := sj.RunningJobPercentage(); !ok {
			return StrategyDefault
		}
		return s
	default:
		return s
	}
}

// RunningJobPercentage is the number that strategy custom needs; false when
// there is none.
func (sj *ScaledJob) RunningJobPercentage() (float64, bool) {
	v, err := finite(sj.Spec.ScalingStrategy.CustomScalingRunningJobPercentage)
	return v, err == nil
}

// QueueLengthDeduction is what strategy custom takes off. Default 0.
func (sj *ScaledJob) QueueLengthDeduction() int32 {
	return orElse(sj.Spec.ScalingStrategy.CustomScalingQueueLengthDeduction, 0)
}

// CountsPending reports whether the strategy tells pending Jobs from others.
func (sj *ScaledJob) CountsPending() bool {
	s := sj.Strategy()
	return s == StrategyAccurate || s == StrategyEager
}

// Calculation combines triggers. Default max.
func (sj *ScaledJob) Calculation() ScalersCalculation {
	if c := sj.Spec.ScalingStrategy.MultipleScalersCalculation; c != "" {
		return c
	}
	return CalculateMax
}

// TriggersTypes are the distinct trigger types in order, joined by commas.
func (sj *ScaledJob) TriggersTypes() string { return triggersTypes(sj.Spec.Triggers) }

// AuthenticationsTypes are the distinct names of authentications in order,
// joined by commas.
func (sj *ScaledJob) AuthenticationsTypes() string { return authenticationsTypes(sj.Spec.Triggers) }

// JobExcludedLabels are the keys of labels that are not copied to Jobs. Keys
// are not trimmed, as in KEDA.
func (sj *ScaledJob) JobExcludedLabels() sets.Set[string] {
	return separated(sj.Annotations[AnnotationJobExcludedLabels])
}

// Paused reports whether no Jobs are started.
func (sj *ScaledJob) Paused() bool { return flag(sj.Annotations, AnnotationPaused) }

// Doorbell reports whether the user switched doorbells on or off; nil leaves
// it to the trigger. A value other than on and off is an error.
func (sj *ScaledJob) Doorbell() (*bool, error) { return doorbell(sj.Annotations) }

// IdlePollingInterval is the time between two readings: the annotation, a Go
// duration such as 2s, else the polling interval. A ScaledJob has no HPA that
// would read more often while it works, so there is one interval for both.
func (sj *ScaledJob) IdlePollingInterval() (time.Duration, error) {
	return idlePollingInterval(sj.Annotations, sj.PollingInterval())
}

// NoData is what the user wants "no data" to become: hold, error or zero; ""
// leaves it to the installation. Another value is an error.
func (sj *ScaledJob) NoData() (string, error) { return noData(sj.Annotations) }

// Validate checks what the schema cannot say of the object as a whole, and
// reports every problem at once, joined: with any of them nothing can be done
// for it. Every reconcile runs it, since admission may be absent. What is wrong
// with one trigger is TriggerProblem's.
func (sj *ScaledJob) Validate() error {
	if sj.Spec.Exceeds != "" {
		return errors.New(sj.Spec.Exceeds) // the rest of it was not looked at
	}
	return errors.Join(sj.validateName(), sj.validateTemplate(), sj.ValidateReplicas(),
		someTriggers(sj.Spec.Triggers), sj.validateFallback(), sj.validateAnnotations())
}

func (sj *ScaledJob) validateName() error {
	if len(sj.Name) > longestJobOwner {
		return fmt.Errorf("metadata.name: %d characters, a ScaledJob may have %d", len(sj.Name), longestJobOwner)
	}
	return nil
}

func (sj *ScaledJob) validateTemplate() error {
	if sj.Spec.JobTargetRef == nil {
		return errors.New("jobTargetRef: missing")
	}
	containers := sj.Spec.JobTargetRef.Template.Spec.Containers
	if len(containers) == 0 {
		return errors.New("jobTargetRef.template.spec.containers: none given")
	}
	wanted := sj.Spec.EnvSourceContainerName
	for i := range containers {
		if wanted == "" || containers[i].Name == wanted {
			return nil
		}
	}
	return fmt.Errorf("envSourceContainerName: jobTargetRef has no container %q", wanted)
}

// ValidateReplicas checks the bounds against each other.
func (sj *ScaledJob) ValidateReplicas() error {
	if lo, hi := sj.MinJobs(), sj.MaxJobs(); lo > hi {
		return fmt.Errorf("minReplicaCount: %d exceeds maxReplicaCount %d", lo, hi)
	}
	return nil
}

// ValidateTriggers checks the list of triggers.
func (sj *ScaledJob) ValidateTriggers() error {
	return validateTriggers(sj.Spec.Triggers, noMetricType)
}

// TriggerProblem is what is wrong with one trigger before anybody reads its
// metadata, nil when it is well. It costs the object that trigger and no other.
func (sj *ScaledJob) TriggerProblem(index int) error {
	return triggerProblem(sj.Spec.Triggers, index, noMetricType)
}

// noMetricType refuses the field: a ScaledJob divides every queue by its target.
func noMetricType(t ScaleTrigger) error {
	if t.MetricType != "" {
		return errors.New("metricType: not supported by a ScaledJob")
	}
	return nil
}

func (sj *ScaledJob) validateFallback() error {
	f := sj.Spec.Fallback
	if f == nil {
		return nil
	}
	var problems []error
	if f.FailureThreshold < 0 {
		problems = append(problems, fmt.Errorf("fallback.failureThreshold: %d is negative", f.FailureThreshold))
	}
	switch {
	case f.Replicas < 0:
		problems = append(problems, fmt.Errorf("fallback.replicas: %d is negative", f.Replicas))
	case f.Replicas > sj.MaxJobs():
		problems = append(problems, fmt.Errorf("fallback.replicas: %d exceeds maxReplicaCount %d", f.Replicas, sj.MaxJobs()))
	}
	return errors.Join(problems...)
}

func (sj *ScaledJob) validateAnnotations() error {
	_, doorbell := sj.Doorbell()
	_, idle := sj.IdlePollingInterval()
	_, data := sj.NoData()
	return errors.Join(doorbell, idle, data)
}
