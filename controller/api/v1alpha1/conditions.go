package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition is one verdict on the object.
type Condition struct {
	// Type of the condition.
	//
	// +required
	Type ConditionType `json:"type"`
	// Status is True, False or Unknown.
	//
	// +required
	Status metav1.ConditionStatus `json:"status"`
	// Reason in one CamelCase word.
	//
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message for a person.
	//
	// +optional
	Message string `json:"message,omitempty"`
}

// ConditionType names a condition.
type ConditionType string

// The condition types of ScaledObjects and ScaledJobs.
const (
	ConditionReady     ConditionType = "Ready"
	ConditionActive    ConditionType = "Active"
	ConditionFallback  ConditionType = "Fallback"
	ConditionPaused    ConditionType = "Paused"
	ConditionHPAActive ConditionType = "HPAActive"
)

// The reasons of conditions, and of the events of the same name.
const (
	ReasonScaledObjectReady       = "ScaledObjectReady"
	ReasonScaledObjectCheckFailed = "ScaledObjectCheckFailed"
	ReasonErrorGettingReplicas    = "ErrorGettingCurrentReplicas"
	ReasonScaleTargetNotScaled    = "ScaleTargetNotScaled"
	ReasonLeasesUnreadable        = "LeasesUnreadable"
	ReasonPartialTriggerError     = "PartialTriggerError"
	ReasonTriggerError            = "TriggerError"
	ReasonScalerActive            = "ScalerActive"
	ReasonScalerNotActive         = "ScalerNotActive"
	ReasonScalerCooldown          = "ScalerCooldown"
	ReasonUnknownState            = "UnknownState"
	ReasonNoFallbackFound         = "NoFallbackFound"
	ReasonFallbackExists          = "FallbackExists"
	ReasonScaledObjectPaused      = "ScaledObjectPaused"
	ReasonScaledObjectUnpaused    = "ScaledObjectUnpaused"
	ReasonHPAActive               = "HPAActive"
	ReasonScalingDisabled         = "ScalingDisabled"
	ReasonHPAMetricsUnavailable   = "HPAMetricsUnavailable"
	ReasonScaledJobReady          = "ScaledJobReady"
	ReasonScaledJobCheckFailed    = "ScaledJobCheckFailed"
	ReasonScaledJobPaused         = "ScaledJobPaused"
	ReasonScaledJobUnpaused       = "ScaledJobUnpaused"
)

// Conditions are keyed by type.
type Conditions []Condition

// Get returns the condition of type t and whether there is one.
func (c Conditions) Get(t ConditionType) (Condition, bool) {
	for _, have := range c {
		if have.Type == t {
			return have, true
		}
	}
	return Condition{}, false
}

// IsTrue reports whether the condition of type t exists and is True.
func (c Conditions) IsTrue(t ConditionType) bool {
	have, _ := c.Get(t)
	return have.Status == metav1.ConditionTrue
}

// longestMessage is the most that a message may hold, as in Kubernetes' own
// conditions: a family or a source can say anything.
const longestMessage = 32768

// Set puts want in the place of the condition of its type, or at the end, and
// reports whether anything changed.
func (c *Conditions) Set(want Condition) bool {
	want.Message = Shorten(want.Message, longestMessage)
	for i, have := range *c {
		if have.Type != want.Type {
			continue
		}
		(*c)[i] = want
		return have != want
	}
	*c = append(*c, want)
	return true
}

// Remove drops the condition of type t and reports whether there was one.
func (c *Conditions) Remove(t ConditionType) bool {
	for i, have := range *c {
		if have.Type == t {
			*c = append((*c)[:i:i], (*c)[i+1:]...)
			return true
		}
	}
	return false
}

// Initialize adds the four base conditions that are missing: Ready, Active and
// Fallback as Unknown, Paused as False. A type that is there twice, as KEDA's
// schema lets it be, goes the second time. It reports whether it changed any.
func (c *Conditions) Initialize() bool {
	seen, before := map[ConditionType]bool{}, len(*c)
	*c = slices.DeleteFunc(*c, func(have Condition) bool {
		again := seen[have.Type]
		seen[have.Type] = true
		return again
	})
	changed := len(*c) < before
	for _, base := range []Condition{
		{Type: ConditionReady, Status: metav1.ConditionUnknown},
		{Type: ConditionActive, Status: metav1.ConditionUnknown},
		{Type: ConditionFallback, Status: metav1.ConditionUnknown},
		{Type: ConditionPaused, Status: metav1.ConditionFalse},
	} {
		if _, ok := c.Get(base.Type); !ok {
			*c = append(*c, base)
			changed = true
		}
	}
	return changed
}
