package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScaledObjectStatus is what the controller found and did.
type ScaledObjectStatus struct {
	// ScaleTargetKind is the target's <group>/<version>.<Kind>.
	//
	// +optional
	ScaleTargetKind string `json:"scaleTargetKind,omitempty"`
	// ScaleTargetGVKR is the resolved target.
	//
	// +optional
	ScaleTargetGVKR *GroupVersionKindResource `json:"scaleTargetGVKR,omitempty"`
	// OriginalReplicaCount is the target's replica count when first seen.
	//
	// +optional
	OriginalReplicaCount *int32 `json:"originalReplicaCount,omitempty"`
	// LastActiveTime is when activity was last recorded.
	//
	// +optional
	LastActiveTime *metav1.Time `json:"lastActiveTime,omitempty"`
	// ExternalMetricNames are the external metrics of the HPA in trigger order.
	//
	// +optional
	// +listType=atomic
	ExternalMetricNames []string `json:"externalMetricNames,omitempty"`
	// ResourceMetricNames are the resources (cpu, memory) the HPA scales on.
	//
	// +optional
	// +listType=atomic
	ResourceMetricNames []string `json:"resourceMetricNames,omitempty"`
	// CompositeScalerName is composite-metric while scalingModifiers is in use.
	//
	// +optional
	CompositeScalerName string `json:"compositeScalerName,omitempty"`
	// Conditions by type: Ready, Active, Fallback, Paused, HPAActive.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions Conditions `json:"conditions,omitempty"`
	// Health of each metric, kept while a fallback is configured.
	//
	// +optional
	Health map[string]HealthStatus `json:"health,omitempty"`
	// TriggersActivity tells for each external metric whether it is active.
	//
	// +optional
	TriggersActivity map[string]TriggerActivity `json:"triggersActivity,omitempty"`
	// PausedReplicaCount is the count that annotation paused-replicas asks for.
	//
	// +optional
	PausedReplicaCount *int32 `json:"pausedReplicaCount,omitempty"`
	// HpaName is the HPA managed for this object.
	//
	// +optional
	HpaName string `json:"hpaName,omitempty"`
	// TriggersTypes are the distinct trigger types, joined by commas.
	//
	// +optional
	TriggersTypes string `json:"triggersTypes,omitempty"`
	// AuthenticationsTypes are the distinct names of the authentications in
	// use, joined by commas.
	//
	// +optional
	AuthenticationsTypes string `json:"authenticationsTypes,omitempty"`
	// Activation is the last rise from rest, if it went straight to the size the
	// backlog asked for or the object has scaleUp policies.
	//
	// +optional
	Activation *Activation `json:"activation,omitempty"`
	// Fallback lists the metrics that are replaced by fallback now. It never
	// holds a value of the metric.
	//
	// +optional
	// +listType=map
	// +listMapKey=metric
	Fallback []FallbackVerdict `json:"fallback,omitempty"`
	// Decisions are the last changes of the replicas that the controller made,
	// the latest first. Those between are the HPA's.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	Decisions []Decision `json:"decisions,omitempty"`
}

// Decision is one change of the replicas in short.
type Decision struct {
	// Time of the decision.
	Time metav1.MicroTime `json:"time"`
	// Message says from which number to which, what each metric said, what
	// limited the result and who acts next.
	Message string `json:"message"`
}

// GroupVersionKindResource identifies a kind and its resource (plural).
type GroupVersionKindResource struct {
	// Group is empty for the core group.
	Group string `json:"group"`
	// Version of the group.
	Version string `json:"version"`
	// Kind is the singular, in camel case.
	Kind string `json:"kind"`
	// Resource is the plural, in lower case.
	Resource string `json:"resource"`
}

// HealthState tells whether the last reading of a metric succeeded.
//
// +kubebuilder:validation:Enum=Happy;Failing
type HealthState string

const (
	// HealthHappy means that the last reading succeeded.
	HealthHappy HealthState = "Happy"
	// HealthFailing means that the last reading failed.
	HealthFailing HealthState = "Failing"
)

// HealthStatus counts the failures of one metric.
type HealthStatus struct {
	// NumberOfFailures counts consecutive failures, at most one per polling
	// interval.
	//
	// +optional
	NumberOfFailures *int32 `json:"numberOfFailures,omitempty"`
	// Status of the last reading.
	//
	// +optional
	Status HealthState `json:"status,omitempty"`
}

// TriggerActivity tells whether a metric is above its activation threshold.
type TriggerActivity struct {
	// IsActive is true while the metric is above its activation threshold.
	IsActive bool `json:"isActive"`
}

// Activation records a rise from zero or idle replicas to Replicas. For a short
// time after Time the metric is reported as at least Replicas times its target,
// so that the HPA starts from the same number. No metric is reported as more
// than the user's scaleUp policies allow while their periods reach back to Time.
type Activation struct {
	// Metric that asked for the replicas, with its s<index>- prefix; empty when
	// they are just the minimum.
	Metric string `json:"metric"`
	// Replicas the target was raised to.
	Replicas int32 `json:"replicas"`
	// Time of the rise, on the controller's clock.
	Time metav1.MicroTime `json:"time"`
}

// FallbackVerdict says that a metric is replaced by fallback.
type FallbackVerdict struct {
	// Metric that fails, with its s<index>- prefix.
	Metric string `json:"metric"`
	// Since is when it began to fail, on the controller's clock.
	Since metav1.Time `json:"since"`
	// Behavior that applies.
	Behavior FallbackBehavior `json:"behavior"`
	// Replicas that the behaviour came to.
	//
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
}
