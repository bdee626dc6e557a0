// Package cures says what helps where a condition or an event is not well, as the
// controller's own list of reasons has it.
package cures

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/reasons"
)

// Cure is what a reason means, and what to do.
type Cure struct {
	Reason string `json:"reason"`
	Cause  string `json:"cause"`
	Cure   string `json:"cure"`
}

// Of is that of a reason, false for one that is unknown or has none.
func Of(reason string) (Cure, bool) {
	known, is := reasons.Find(reason)
	if !is || known.Cure == "" {
		return Cure{}, false
	}
	return Cure{Reason: known.Name, Cause: known.Cause, Cure: known.Advice()}, true
}

// OfEvent is that of an event's reason. What somebody meant to do has none.
func OfEvent(reason string) (Cure, bool) {
	if strings.HasSuffix(reason, "Paused") {
		return Cure{}, false
	}
	return Of(reason)
}

// Condition is one that is not well.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// String says it in words.
func (c Condition) String() string {
	text := "condition " + c.Type + " is " + c.Status
	if c.Reason != "" {
		text += ", " + c.Reason
	}
	if c.Message != "" {
		text += ": " + c.Message
	}
	return text
}

// NotWell are the conditions of an object that are not. That it rests or is paused is
// nothing wrong with it.
func NotWell(all v1alpha1.Conditions) (bad []Condition) {
	add := func(kind v1alpha1.ConditionType, well func(metav1.ConditionStatus) bool) {
		if c, is := all.Get(kind); is && !well(c.Status) {
			bad = append(bad, Condition{string(kind), string(c.Status), c.Reason, c.Message})
		}
	}
	add(v1alpha1.ConditionReady, func(s metav1.ConditionStatus) bool { return s == metav1.ConditionTrue })
	if len(bad) == 0 { // else it is for the same reason
		add(v1alpha1.ConditionActive, func(s metav1.ConditionStatus) bool { return s != metav1.ConditionUnknown })
	}
	add(v1alpha1.ConditionFallback, func(s metav1.ConditionStatus) bool { return s != metav1.ConditionTrue })
	add(v1alpha1.ConditionHPAActive, func(s metav1.ConditionStatus) bool { return s != metav1.ConditionFalse })
	return bad
}
