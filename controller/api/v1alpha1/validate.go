package v1alpha1

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Validate checks what the schema cannot say of the object as a whole, and
// reports every problem at once, joined: with any of them nothing can be done
// for it. Every reconcile runs it, since admission may be absent. What is wrong
// with one trigger is TriggerProblem's.
func (so *ScaledObject) Validate() error {
	if so.Spec.Exceeds != "" {
		return errors.New(so.Spec.Exceeds) // the rest of it was not looked at
	}
	problems := []error{so.validateName(), so.ValidateReplicas(), someTriggers(so.Spec.Triggers),
		so.ValidateModifiers(), so.ValidateFallback(), so.ValidateFallbackBehavior()}
	return errors.Join(problems...)
}

func (so *ScaledObject) validateName() error {
	if so.Spec.ScaleTargetRef.Name == "" {
		return errors.New("scaleTargetRef.name: missing")
	}
	return nil
}

// ValidateReplicas checks the replica bounds against each other.
//
// A minReplicaCount given as 0 counts as 1, as in KEDA: idleReplicaCount 0
// with minReplicaCount 0 is accepted, without minReplicaCount it is not.
func (so *ScaledObject) ValidateReplicas() error {
	var problems []error
	lo, hi := int32(0), so.MaxReplicas()
	if so.Spec.MinReplicaCount != nil {
		lo = max(*so.Spec.MinReplicaCount, 1)
	}
	if lo > hi {
		problems = append(problems, fmt.Errorf("minReplicaCount: %d exceeds maxReplicaCount %d", lo, hi))
	}
	if idle := so.Spec.IdleReplicaCount; idle != nil && *idle >= lo {
		problems = append(problems, fmt.Errorf("idleReplicaCount: %d is not lower than minReplicaCount %d", *idle, lo))
	}
	return errors.Join(problems...)
}

// ValidateTriggers checks the list of triggers: not empty, names unique,
// useCachedMetrics and metricType only where they work.
func (so *ScaledObject) ValidateTriggers() error {
	return validateTriggers(so.Spec.Triggers, ScaleTrigger.ValidateMetricType)
}

// TriggerProblem is what is wrong with one trigger before anybody reads its
// metadata, nil when it is well. It costs the object that trigger and no other.
func (so *ScaledObject) TriggerProblem(index int) error {
	return triggerProblem(so.Spec.Triggers, index, ScaleTrigger.ValidateMetricType)
}

func validateTriggers(triggers []ScaleTrigger, metricType func(ScaleTrigger) error) error {
	problems := []error{someTriggers(triggers)}
	for i, t := range triggers {
		if err := triggerProblem(triggers, i, metricType); err != nil {
			for _, text := range strings.Split(err.Error(), "\n") {
				problems = append(problems, fmt.Errorf("trigger %d (%s): %s", i, t.Type, text))
			}
		}
	}
	return errors.Join(problems...)
}

func someTriggers(triggers []ScaleTrigger) error {
	if len(triggers) == 0 {
		return errors.New("triggers: none given")
	}
	return nil
}

func triggerProblem(triggers []ScaleTrigger, i int, metricType func(ScaleTrigger) error) error {
	t := triggers[i]
	var problems []error
	if t.UseCachedMetrics && !t.Cacheable() {
		problems = append(problems, errors.New("useCachedMetrics: not supported by this type"))
	}
	problems = append(problems, metricType(t))
	same := func(other ScaleTrigger) bool { return t.Name != "" && other.Name == t.Name }
	if j := slices.IndexFunc(triggers[:i], same); j >= 0 {
		problems = append(problems, fmt.Errorf("name: %q is already the name of trigger %d", t.Name, j))
	}
	return errors.Join(problems...)
}

// ValidateMetricType checks the metricType of a ScaledObject's trigger, as
// KEDA does.
func (t ScaleTrigger) ValidateMetricType() error {
	allowed := [2]autoscalingv2.MetricTargetType{autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType}
	have := t.TargetType()
	if t.Builtin() {
		if err := t.validateOldType(); err != nil {
			return err
		}
		allowed = [2]autoscalingv2.MetricTargetType{autoscalingv2.UtilizationMetricType, autoscalingv2.AverageValueMetricType}
		have = t.MetricType
	}
	if have == allowed[0] || have == allowed[1] {
		return nil
	}
	if have == "" {
		return fmt.Errorf("metricType: missing, use %s or %s", allowed[0], allowed[1])
	}
	return fmt.Errorf("metricType: %q is neither %s nor %s", have, allowed[0], allowed[1])
}

// validateOldType says what became of a key of cpu and memory that many
// manifests still have.
func (t ScaleTrigger) validateOldType() error {
	old := autoscalingv2.MetricTargetType(t.Metadata["type"])
	switch {
	case old == "":
		return nil
	case t.MetricType != "":
		return fmt.Errorf("metadata.type: was removed: delete it, metricType: %s is enough", t.MetricType)
	case old != autoscalingv2.AverageValueMetricType:
		old = autoscalingv2.UtilizationMetricType
	}
	return fmt.Errorf("metadata.type: was removed: delete it and write metricType: %s beside metadata", old)
}

// ValidateTriggerList checks the list of triggers but not their metricType: not
// empty, names unique, useCachedMetrics only where it works.
func ValidateTriggerList(triggers []ScaleTrigger) error {
	return validateTriggers(triggers, func(ScaleTrigger) error { return nil })
}

// ValidateModifiers checks the numbers. Whether the formula compiles is a
// question for package scaling.
func (so *ScaledObject) ValidateModifiers() error {
	m := so.Modifiers()
	if m == nil {
		return nil
	}
	var problems []error
	if m.Formula == "" {
		problems = append(problems, errors.New("scalingModifiers.formula: missing"))
	}
	if _, err := m.TargetValue(); err != nil {
		problems = append(problems, err)
	}
	if _, err := m.ActivationValue(); err != nil {
		problems = append(problems, err)
	}
	if m.TargetType() == autoscalingv2.UtilizationMetricType {
		problems = append(problems, errors.New("scalingModifiers.metricType: Utilization is not possible for a computed metric"))
	}
	return errors.Join(problems...)
}

// TargetValue is the target of the computed metric, always greater than 0.
func (m *ScalingModifiers) TargetValue() (float64, error) {
	if m.Target == "" {
		return 0, errors.New("scalingModifiers.target: missing")
	}
	v, err := finite(m.Target)
	if err != nil || v <= 0 {
		return 0, fmt.Errorf("scalingModifiers.target: %q is not a number greater than 0", m.Target)
	}
	return v, nil
}

// ActivationValue is what the computed metric must exceed. Default 0.
func (m *ScalingModifiers) ActivationValue() (float64, error) {
	if m.ActivationTarget == "" {
		return 0, nil
	}
	v, err := finite(m.ActivationTarget)
	if err != nil {
		return 0, fmt.Errorf("scalingModifiers.activationTarget: %q is not a number", m.ActivationTarget)
	}
	return v, nil
}

// ValidateFallback checks the fallback's numbers, and that there is a trigger
// that may fail.
func (so *ScaledObject) ValidateFallback() error {
	f := so.Fallback()
	if f == nil {
		return nil
	}
	var problems []error
	if f.FailureThreshold < 0 {
		problems = append(problems, fmt.Errorf("fallback.failureThreshold: %d is negative", f.FailureThreshold))
	}
	if f.Replicas < 0 {
		problems = append(problems, fmt.Errorf("fallback.replicas: %d is negative", f.Replicas))
	}
	if so.Modifiers() == nil && len(so.Spec.Triggers) > 0 && so.OnlyBuiltins() {
		problems = append(problems, errors.New("fallback: needs a trigger other than cpu and memory"))
	}
	return errors.Join(problems...)
}

// ValidateFallbackBehavior checks that behavior scalingModifiers has a formula.
func (so *ScaledObject) ValidateFallbackBehavior() error {
	f, m := so.Fallback(), so.Modifiers()
	if f != nil && f.Behavior == FallbackScalingModifiers && (m == nil || m.Formula == "") {
		return errors.New("fallback.behavior: scalingModifiers needs advanced.scalingModifiers.formula")
	}
	return nil
}

// finite parses a number that is neither infinite nor NaN.
func finite(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err == nil && v-v != 0 {
		err = strconv.ErrRange
	}
	return v, err
}
