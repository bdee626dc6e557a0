package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScaledObject scales a workload on the work that waits for it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=scaledobjects,scope=Namespaced,shortName=so
// +kubebuilder:printcolumn:name="ScaleTargetKind",type="string",JSONPath=".status.scaleTargetKind"
// +kubebuilder:printcolumn:name="ScaleTargetName",type="string",JSONPath=".spec.scaleTargetRef.name"
// +kubebuilder:printcolumn:name="Min",type="integer",JSONPath=".spec.minReplicaCount"
// +kubebuilder:printcolumn:name="Max",type="integer",JSONPath=".spec.maxReplicaCount"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Active",type="string",JSONPath=".status.conditions[?(@.type==\"Active\")].status"
// +kubebuilder:printcolumn:name="Fallback",type="string",JSONPath=".status.conditions[?(@.type==\"Fallback\")].status"
// +kubebuilder:printcolumn:name="Paused",type="string",JSONPath=".status.conditions[?(@.type==\"Paused\")].status"
// +kubebuilder:printcolumn:name="Triggers",type="string",JSONPath=".status.triggersTypes"
// +kubebuilder:printcolumn:name="Authentications",type="string",JSONPath=".status.authenticationsTypes"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ScaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ScaledObjectSpec   `json:"spec"`
	Status ScaledObjectStatus `json:"status,omitempty"`
}

// ScaledObjectList is a list of ScaledObjects.
//
// +kubebuilder:object:root=true
type ScaledObjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ScaledObject `json:"items"`
}

// ScaledObjectSpec is what the user asks for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)",message="minReplicaCount must not exceed maxReplicaCount (100 when not given)"
// +kubebuilder:validation:XValidation:rule="!has(self.idleReplicaCount) || (has(self.minReplicaCount) && self.idleReplicaCount < (self.minReplicaCount > 1 ? self.minReplicaCount : 1))",message="idleReplicaCount must be lower than minReplicaCount"
// +kubebuilder:validation:XValidation:rule="self.?fallback.?behavior.orValue(\"\") != 'scalingModifiers' || self.?advanced.?scalingModifiers.?formula.orValue(\"\") != \"\"",message="fallback.behavior scalingModifiers needs advanced.scalingModifiers.formula"
type ScaledObjectSpec struct {
	// Exceeds is which limits of the installation the spec exceeded before it
	// was cut down to what is left of it here; see Limits.
	Exceeds string `json:"-"`
	// ScaleTargetRef names the workload to scale.
	ScaleTargetRef ScaleTarget `json:"scaleTargetRef"`
	// PollingInterval is the time between two readings of each trigger, in
	// seconds. Default 30.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	PollingInterval *int32 `json:"pollingInterval,omitempty"`
	// InitialCooldownPeriod is how long after its creation the object keeps its
	// replicas while it has never been active, in seconds. Default 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	InitialCooldownPeriod *int32 `json:"initialCooldownPeriod,omitempty"`
	// CooldownPeriod is the time without activity before the target goes to
	// zero or to idleReplicaCount, in seconds. Default 300.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	CooldownPeriod *int32 `json:"cooldownPeriod,omitempty"`
	// IdleReplicaCount is the number of replicas while no trigger is active. It
	// must be lower than minReplicaCount. Only 0 works together with the HPA:
	// the HPA raises any other number back to minReplicaCount.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	IdleReplicaCount *int32 `json:"idleReplicaCount,omitempty"`
	// MinReplicaCount is the lower bound. Default 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReplicaCount *int32 `json:"minReplicaCount,omitempty"`
	// MaxReplicaCount is the upper bound. Default 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReplicaCount *int32 `json:"maxReplicaCount,omitempty"`
	// Advanced tunes the HPA and combines metrics.
	//
	// +optional
	Advanced *AdvancedConfig `json:"advanced,omitempty"`
	// Triggers are the sources of demand. The largest demand wins.
	//
	// +kubebuilder:validation:MinItems=1
	Triggers []ScaleTrigger `json:"triggers"`
	// Fallback is what replaces a metric that keeps failing.
	//
	// +optional
	Fallback *Fallback `json:"fallback,omitempty"`
	// Fallbacks is another spelling of fallback. fallback wins when both are
	// given.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=1
	// +listType=atomic
	Fallbacks []FailureFallback `json:"fallbacks,omitempty"`
}

// ScaleTarget names a workload in the namespace of the ScaledObject.
type ScaleTarget struct {
	// Name of the workload.
	//
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// APIVersion of the workload. Default apps/v1.
	//
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// Kind of the workload: any kind with a scale subresource. Default
	// Deployment.
	//
	// +optional
	Kind string `json:"kind,omitempty"`
	// EnvSourceContainerName is the container whose environment answers
	// parameters that end in FromEnv. Default: the first container.
	//
	// +optional
	EnvSourceContainerName string `json:"envSourceContainerName,omitempty"`
}

// AdvancedConfig tunes the HPA and combines metrics.
type AdvancedConfig struct {
	// HorizontalPodAutoscalerConfig is passed on to the HPA.
	//
	// +optional
	HorizontalPodAutoscalerConfig *HorizontalPodAutoscalerConfig `json:"horizontalPodAutoscalerConfig,omitempty"`
	// RestoreToOriginalReplicaCount puts the target back to the replicas it had
	// before, when the ScaledObject is deleted. Default false.
	//
	// +optional
	RestoreToOriginalReplicaCount bool `json:"restoreToOriginalReplicaCount,omitempty"`
	// ScalingModifiers computes one metric out of several triggers.
	//
	// +optional
	ScalingModifiers *ScalingModifiers `json:"scalingModifiers,omitempty"`
}

// HorizontalPodAutoscalerConfig is passed on to the HPA.
type HorizontalPodAutoscalerConfig struct {
	// Name of the HPA. Default keda-hpa-<name of the ScaledObject>.
	//
	// +optional
	Name string `json:"name,omitempty"`
	// Behavior is the HPA's own behavior block.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.scaleUp) || !has(self.scaleUp.stabilizationWindowSeconds) || (self.scaleUp.stabilizationWindowSeconds >= 0 && self.scaleUp.stabilizationWindowSeconds <= 3600)",message="scaleUp.stabilizationWindowSeconds must be between 0 and 3600"
	// +kubebuilder:validation:XValidation:rule="!has(self.scaleDown) || !has(self.scaleDown.stabilizationWindowSeconds) || (self.scaleDown.stabilizationWindowSeconds >= 0 && self.scaleDown.stabilizationWindowSeconds <= 3600)",message="scaleDown.stabilizationWindowSeconds must be between 0 and 3600"
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
}

// ScalingModifiers computes one metric out of several triggers. It is in use
// as soon as one field is not empty.
//
// +kubebuilder:validation:XValidation:rule="self.?formula.orValue(\"\") != \"\" || (self.?target.orValue(\"\") == \"\" && self.?activationTarget.orValue(\"\") == \"\" && self.?metricType.orValue(\"\") == \"\")",message="formula is required"
// +kubebuilder:validation:XValidation:rule="self.?target.orValue(\"\") != \"\" || (self.?formula.orValue(\"\") == \"\" && self.?activationTarget.orValue(\"\") == \"\" && self.?metricType.orValue(\"\") == \"\")",message="target is required"
type ScalingModifiers struct {
	// Formula over trigger names, in the expr language.
	//
	// +optional
	Formula string `json:"formula,omitempty"`
	// Target of the computed metric: a number greater than 0.
	//
	// +optional
	Target string `json:"target,omitempty"`
	// ActivationTarget is what the computed metric must exceed to leave zero or
	// idle replicas: a number. Default 0.
	//
	// +optional
	ActivationTarget string `json:"activationTarget,omitempty"`
	// MetricType of the computed metric. Default AverageValue.
	//
	// +optional
	// +kubebuilder:validation:Enum=AverageValue;Value
	MetricType autoscalingv2.MetricTargetType `json:"metricType,omitempty"`
}

// ScaleTrigger is one source of demand.
//
// +kubebuilder:validation:XValidation:rule="!self.?useCachedMetrics.orValue(false) || !(self.type in ['cpu', 'memory', 'cron'])",message="useCachedMetrics is not supported by cpu, memory and cron"
type ScaleTrigger struct {
	// Type of the trigger, such as kafka. It is served by the Service
	// scaler-<type> of the installation.
	//
	// +kubebuilder:validation:MinLength=1
	Type string `json:"type"`
	// Name is unique within the object. A formula refers to triggers by it.
	//
	// +optional
	Name string `json:"name,omitempty"`
	// UseCachedMetrics answers the HPA from the last poll. Not for cpu, memory
	// and cron. Default false.
	//
	// +optional
	UseCachedMetrics bool `json:"useCachedMetrics,omitempty"`
	// Metadata are the parameters of the trigger.
	Metadata map[string]string `json:"metadata"`
	// AuthenticationRef names the authentication of the trigger.
	//
	// +optional
	AuthenticationRef *AuthenticationRef `json:"authenticationRef,omitempty"`
	// SecretKeyRef takes parameters from Secrets of the object's namespace
	// without an authentication in between. It couples the trigger to the
	// Secret: meant for tries, and admission warns of it. Beside a
	// ClusterTriggerAuthentication it is refused.
	//
	// +optional
	// +listType=atomic
	SecretKeyRef []TargetRef `json:"secretKeyRef,omitempty"`
	// MetricType is how the target counts: AverageValue (per replica, the
	// default), Value (overall), or for cpu and memory Utilization or
	// AverageValue, where it must be given.
	//
	// +optional
	MetricType autoscalingv2.MetricTargetType `json:"metricType,omitempty"`
}

// AuthenticationRef names a TriggerAuthentication of the object's namespace or
// a ClusterTriggerAuthentication.
type AuthenticationRef struct {
	// Name of the authentication.
	Name string `json:"name"`
	// Kind of the authentication. Default TriggerAuthentication.
	//
	// +optional
	// +kubebuilder:validation:Enum=TriggerAuthentication;ClusterTriggerAuthentication
	Kind string `json:"kind,omitempty"`
}

// FallbackBehavior chooses the number of replicas while a trigger keeps
// failing.
//
// +kubebuilder:validation:Enum=static;currentReplicas;currentReplicasIfHigher;currentReplicasIfLower;scalingModifiers
type FallbackBehavior string

const (
	// FallbackStatic uses fallback.replicas.
	FallbackStatic FallbackBehavior = "static"
	// FallbackCurrentReplicas keeps the current replicas.
	FallbackCurrentReplicas FallbackBehavior = "currentReplicas"
	// FallbackCurrentReplicasIfHigher uses the larger of current and fallback
	// replicas.
	FallbackCurrentReplicasIfHigher FallbackBehavior = "currentReplicasIfHigher"
	// FallbackCurrentReplicasIfLower uses the smaller of current and fallback
	// replicas.
	FallbackCurrentReplicasIfLower FallbackBehavior = "currentReplicasIfLower"
	// FallbackScalingModifiers hands the failing trigger to the formula as nil.
	FallbackScalingModifiers FallbackBehavior = "scalingModifiers"
)

// Fallback is what replaces a metric that keeps failing.
type Fallback struct {
	// FailureThreshold is the number of consecutive failures that are
	// tolerated; the next one starts the fallback.
	//
	// +kubebuilder:validation:Minimum=0
	FailureThreshold int32 `json:"failureThreshold"`
	// Replicas to fall back to.
	//
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
	// Behavior chooses between these replicas and the current ones.
	//
	// +optional
	// +kubebuilder:default=static
	Behavior FallbackBehavior `json:"behavior,omitempty"`
}

// FailureFallback is one entry of the other spelling of fallback.
type FailureFallback struct {
	// FailureType is the kind of failure meant. There is one: all.
	//
	// +optional
	// +kubebuilder:validation:Enum=all
	FailureType string `json:"failureType,omitempty"`
	// FailureThreshold is as in fallback. Default 3.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailureThreshold *int32 `json:"failureThreshold,omitempty"`
	// Replicas to fall back to.
	//
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
}
