package v1alpha1

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScaledJob starts Jobs for the work that waits.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=scaledjobs,scope=Namespaced,shortName=sj
// +kubebuilder:printcolumn:name="Min",type="integer",JSONPath=".spec.minReplicaCount"
// +kubebuilder:printcolumn:name="Max",type="integer",JSONPath=".spec.maxReplicaCount"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Active",type="string",JSONPath=".status.conditions[?(@.type==\"Active\")].status"
// +kubebuilder:printcolumn:name="Paused",type="string",JSONPath=".status.conditions[?(@.type==\"Paused\")].status"
// +kubebuilder:printcolumn:name="Triggers",type="string",JSONPath=".status.triggersTypes"
// +kubebuilder:printcolumn:name="Authentications",type="string",JSONPath=".status.authenticationsTypes"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ScaledJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ScaledJobSpec   `json:"spec"`
	Status ScaledJobStatus `json:"status,omitempty"`
}

// ScaledJobList is a list of ScaledJobs.
//
// +kubebuilder:object:root=true
type ScaledJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ScaledJob `json:"items"`
}

// ScaledJobSpec is what the user asks for.
type ScaledJobSpec struct {
	// Exceeds is which limits of the installation the spec exceeded before it
	// was cut down to what is left of it here; see Limits.
	Exceeds string `json:"-"`
	// JobTargetRef is the spec of every Job.
	JobTargetRef *batchv1.JobSpec `json:"jobTargetRef"`
	// PollingInterval is the time between two readings of each trigger, in
	// seconds. Default 30.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	PollingInterval *int32 `json:"pollingInterval,omitempty"`
	// SuccessfulJobsHistoryLimit is how many complete Jobs are kept. Default
	// 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`
	// FailedJobsHistoryLimit is how many failed Jobs are kept. Default 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`
	// RolloutStrategy is the older spelling of rollout.strategy and wins over
	// it.
	//
	// +optional
	RolloutStrategy RolloutStrategy `json:"rolloutStrategy,omitempty"`
	// Rollout says what a changed spec means for Jobs of an earlier one.
	//
	// +optional
	Rollout Rollout `json:"rollout,omitempty"`
	// EnvSourceContainerName is the container whose environment answers
	// parameters that end in FromEnv. Default: the first container.
	//
	// +optional
	EnvSourceContainerName string `json:"envSourceContainerName,omitempty"`
	// MinReplicaCount is the number of Jobs kept running at all times. Default
	// 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReplicaCount *int32 `json:"minReplicaCount,omitempty"`
	// MaxReplicaCount is the largest number of Jobs that run at once. Default
	// 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReplicaCount *int32 `json:"maxReplicaCount,omitempty"`
	// ScalingStrategy says how many Jobs a backlog asks for.
	//
	// +optional
	ScalingStrategy JobScalingStrategy `json:"scalingStrategy,omitempty"`
	// Triggers are the sources of demand.
	//
	// +kubebuilder:validation:MinItems=1
	Triggers []ScaleTrigger `json:"triggers"`
	// Fallback is how many Jobs run while a trigger keeps failing. Without it
	// none is started. KEDA has no such field.
	//
	// +optional
	Fallback *JobFallback `json:"fallback,omitempty"`
}

// RolloutStrategy says what happens to Jobs of an earlier spec.
//
// +kubebuilder:validation:Enum=gradual;immediate
type RolloutStrategy string

const (
	// RolloutGradual lets Jobs of an earlier spec run to their end.
	RolloutGradual RolloutStrategy = "gradual"
	// RolloutImmediate deletes Jobs of an earlier spec, running ones included.
	RolloutImmediate RolloutStrategy = "immediate"
)

// Rollout says what a changed spec means for Jobs of an earlier one.
type Rollout struct {
	// Strategy is gradual or immediate. Default gradual.
	//
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`
	// PropagationPolicy is how Jobs are deleted by strategy immediate. Default
	// background.
	//
	// +optional
	// +kubebuilder:validation:Enum=foreground;background
	PropagationPolicy string `json:"propagationPolicy,omitempty"`
}

// JobStrategy names a formula.
//
// +kubebuilder:validation:Enum=default;custom;accurate;eager
type JobStrategy string

const (
	// StrategyDefault takes running Jobs for a part of the queue's length: what
	// is worked on stays visible until it is done.
	StrategyDefault JobStrategy = "default"
	// StrategyCustom is tuned by two numbers.
	StrategyCustom JobStrategy = "custom"
	// StrategyAccurate takes only pending Jobs for a part of the queue's
	// length: what is worked on is locked or gone.
	StrategyAccurate JobStrategy = "accurate"
	// StrategyEager fills all free places while there is work.
	StrategyEager JobStrategy = "eager"
)

// ScalersCalculation combines several triggers.
//
// +kubebuilder:validation:Enum=min;avg;sum;max
type ScalersCalculation string

const (
	// CalculateMax takes the trigger with the longest queue.
	CalculateMax ScalersCalculation = "max"
	// CalculateMin takes the trigger with the shortest queue.
	CalculateMin ScalersCalculation = "min"
	// CalculateAvg takes the mean of all active triggers.
	CalculateAvg ScalersCalculation = "avg"
	// CalculateSum adds all active triggers up.
	CalculateSum ScalersCalculation = "sum"
)

// JobScalingStrategy says how many Jobs a backlog asks for.
type JobScalingStrategy struct {
	// Strategy is default, custom, accurate or eager. Default default.
	//
	// +optional
	Strategy JobStrategy `json:"strategy,omitempty"`
	// CustomScalingQueueLengthDeduction is taken off the queue's length by
	// strategy custom. Default 0.
	//
	// +optional
	CustomScalingQueueLengthDeduction *int32 `json:"customScalingQueueLengthDeduction,omitempty"`
	// CustomScalingRunningJobPercentage is the part of running Jobs that
	// strategy custom takes off, a number such as "0.5". Without it custom is
	// default.
	//
	// +optional
	CustomScalingRunningJobPercentage string `json:"customScalingRunningJobPercentage,omitempty"`
	// PendingPodConditions are the conditions that a Pod must all have before
	// its Job is no longer pending. Default: the Pod runs.
	//
	// +optional
	// +listType=atomic
	PendingPodConditions []string `json:"pendingPodConditions,omitempty"`
	// MultipleScalersCalculation is min, avg, sum or max. Default max.
	//
	// +optional
	MultipleScalersCalculation ScalersCalculation `json:"multipleScalersCalculation,omitempty"`
}

// JobFallback is how many Jobs run while a trigger keeps failing.
type JobFallback struct {
	// FailureThreshold is the number of consecutive failures that are
	// tolerated; the next one starts the fallback.
	//
	// +kubebuilder:validation:Minimum=0
	FailureThreshold int32 `json:"failureThreshold"`
	// Replicas is the number of Jobs kept running meanwhile.
	//
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
}

// ScaledJobStatus is what the controller found and did.
type ScaledJobStatus struct {
	// LastActiveTime is when activity was last recorded.
	//
	// +optional
	LastActiveTime *metav1.Time `json:"lastActiveTime,omitempty"`
	// Conditions by type: Ready, Active, Fallback, Paused.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions Conditions `json:"conditions,omitempty"`
	// Paused is never written. See condition Paused.
	//
	// +optional
	Paused string `json:"Paused,omitempty"`
	// TriggersTypes are the distinct trigger types, joined by commas.
	//
	// +optional
	TriggersTypes string `json:"triggersTypes,omitempty"`
	// AuthenticationsTypes are the distinct names of the authentications in
	// use, joined by commas.
	//
	// +optional
	AuthenticationsTypes string `json:"authenticationsTypes,omitempty"`
	// ExternalMetricNames are the metrics in trigger order.
	//
	// +optional
	// +listType=atomic
	ExternalMetricNames []string `json:"externalMetricNames,omitempty"`
	// TriggersActivity tells for each metric whether it is active.
	//
	// +optional
	TriggersActivity map[string]TriggerActivity `json:"triggersActivity,omitempty"`
	// Health of each metric, kept while a fallback is configured.
	//
	// +optional
	Health map[string]HealthStatus `json:"health,omitempty"`
	// Jobs is the arithmetic of the last decision.
	//
	// +optional
	Jobs *JobArithmetic `json:"jobs,omitempty"`
}

// JobArithmetic is how the number of new Jobs came about.
type JobArithmetic struct {
	// QueueLength is the combined length of the queues, rounded up.
	QueueLength int64 `json:"queueLength"`
	// Wanted is how many Jobs the queues ask for: their length divided by the
	// target, rounded up.
	Wanted int64 `json:"wanted"`
	// Running Jobs, pending ones included.
	Running int32 `json:"running"`
	// Pending Jobs are running ones without a running Pod. Counted only where
	// the strategy needs it.
	Pending int32 `json:"pending"`
	// Created is how many Jobs were created for the last reading that asked
	// for any.
	Created int32 `json:"created"`
	// LimitedBy is what kept the number of Jobs down.
	//
	// +optional
	LimitedBy string `json:"limitedBy,omitempty"`
	// Sequence is a number up to which the creation of every Job is known to
	// have come to an end. It stays behind on purpose.
	//
	// +optional
	Sequence int64 `json:"sequence,omitempty"`
}
