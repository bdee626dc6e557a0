package v1alpha1

import (
	"errors"
	"fmt"
	"strconv"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Validate checks what the schema cannot say and reports every problem at
// once, joined. Admission and every reconcile run it: admission may be absent.
//
// Source: spec sections 1.6 and 1.7, notes 18 and 25.
func (so *ScaledObject) Validate() error {
	problems := []error{so.validateName(), so.ValidateReplicas(), so.ValidateTriggers(),
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
// with minReplicaCount 0 is accepted, without minReplicaCount it is not (spec
// note 1).
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

func validateTriggers(triggers []ScaleTrigger, metricType func(ScaleTrigger) error) error {
	if len(triggers) == 0 {
		return errors.New("triggers: none given")
	}
	var problems []error
	first := map[string]int{}
	for i, t := range triggers {
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("trigger %d (%s): "+format, append([]any{i, t.Type}, args...)...))
		}
		if t.UseCachedMetrics && !t.Cacheable() {
			problem("useCachedMetrics: not supported by this type")
		}
		if err := metricType(t); err != nil {
			problem("%w", err)
		}
		if t.Name == "" {
			continue
		}
		if j, taken := first[t.Name]; taken {
			problem("name: %q is already the name of trigger %d", t.Name, j)
			continue
		}
		first[t.Name] = i
	}
	return errors.Join(problems...)
}

// ValidateMetricType checks the metricType of a ScaledObject's trigger, as in
// the table of spec section 7.2.
func (t ScaleTrigger) ValidateMetricType() error {
	allowed := [2]autoscalingv2.MetricTargetType{autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType}
	have := t.TargetType()
	if t.Builtin() {
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
