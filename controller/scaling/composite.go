package scaling

import (
	"errors"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// compose replaces what the triggers ask for by the one computed metric. Its
// activity needs every trigger: while one fails below the threshold, or is
// unknown, there is no value and nothing moves.
//
// A formula that cannot be evaluated is an error, not an absence of work.
func (d *demand) compose(in Input, verdicts []Verdict, fallback *v1alpha1.Fallback) {
	d.active, d.metrics = false, nil
	active, err := d.compositeActive(in, verdicts, fallback)
	d.broken = err
	if d.quiet() && active {
		d.active, d.metrics = true, []string{CompositeMetric}
	}
}

func (d *demand) compositeActive(in Input, verdicts []Verdict, fallback *v1alpha1.Fallback) (bool, error) {
	m := in.Object.Modifiers()
	threshold, err := m.ActivationValue()
	if err != nil {
		return false, err
	}
	target, err := m.TargetValue()
	if err != nil {
		return false, err
	}
	formula, err := in.formula()
	if err != nil {
		return false, err
	}
	if !d.quiet() {
		return false, nil
	}
	if len(d.replaced) > 0 && fallback.Behavior != v1alpha1.FallbackScalingModifiers {
		return d.compositeFallback(target, threshold, FallbackReplicas(fallback, *in.Replicas)), nil
	}
	values := FormulaValues(in.Object, known(in, verdicts))
	value, some, err := formula.Eval(values)
	switch {
	case err != nil:
		return false, err
	case some && value <= threshold && len(d.replaced) > 0 && len(values) == 0:
		// The formula made a number out of nothing but failures. One that
		// was read would do: then the user says which source stands in.
		d.hold("no trigger could be read")
		return false, nil
	case some:
		return value > threshold, nil
	case fallback == nil:
		return false, errNilFormula
	}
	return d.compositeFallback(target, threshold, fallback.Replicas), nil
}

// formula is the compiled one.
func (in Input) formula() (*Formula, error) {
	if in.Formula != nil || in.FormulaErr != nil {
		return in.Formula, in.FormulaErr
	}
	return FormulaOf(in.Object)
}

// errNilFormula says that there is no number at all.
var errNilFormula = errors.New("scalingModifiers.formula: the result is nil and there is no fallback")

// compositeFallback is the activity of the computed metric where fallback
// stands in for it. It can wake a target but not put it to rest.
func (d *demand) compositeFallback(target, threshold float64, replicas int32) bool {
	if asTold(target)*float64(replicas) > threshold {
		return true
	}
	d.hold("fallback is in force")
	return false
}

// known are the triggers that were read.
func known(in Input, verdicts []Verdict) []Trigger {
	var read []Trigger
	for i, t := range in.Triggers {
		if verdicts[i].Outcome == Value {
			read = append(read, t)
		}
	}
	return read
}

// FormulaValues are the values of read triggers by name. Of several metrics of
// one trigger the largest counts, as it would for the HPA.
func FormulaValues(so *v1alpha1.ScaledObject, read []Trigger) map[string]float64 {
	values := map[string]float64{}
	for _, t := range read {
		name := so.Spec.Triggers[t.Index].Name
		if name == "" {
			continue
		}
		for _, m := range t.Metrics {
			if have, ok := values[name]; !ok || m.Value > have {
				values[name] = m.Value
			}
		}
	}
	return values
}
