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

// Composite is the value of an object's formula that the HPA is told, of triggers
// that were read and others that could not be. standIn is the number of replicas
// that fallback has in its place, and err says why; without one err says why there
// is no value. What stands in is one number for all, or nil in the formula where
// the user's behaviour says so, and for a trigger it takes the controller's
// verdict in the status.
func Composite(so *v1alpha1.ScaledObject, formula *Formula, read []Trigger, failures []*TriggerError) (value float64, standIn *int32, err error) {
	fallback, replaced := FallbackOf(so), replacedBy(so.Status.Fallback)
	for _, f := range failures {
		if _, is := replaced[f.Index]; fallback == nil || !is {
			return 0, nil, f
		}
	}
	if len(failures) > 0 && fallback.Behavior != v1alpha1.FallbackScalingModifiers {
		return 0, replaced[failures[0].Index], failures[0]
	}
	value, some, err := formula.Eval(FormulaValues(so, read))
	switch {
	case err != nil || some:
		return value, nil, err
	case fallback == nil:
		return 0, nil, errNilFormula
	}
	return 0, &fallback.Replicas, errNilFormula
}

// replacedBy are the replicas that verdicts have in the place of triggers, by the
// index of these; nil where a verdict gives none.
func replacedBy(verdicts []v1alpha1.FallbackVerdict) map[int]*int32 {
	replaced := map[int]*int32{}
	for _, v := range verdicts {
		index, _, ok := SplitMetricName(v.Metric)
		if ok && replaced[index] == nil {
			replaced[index] = v.Replicas
		}
	}
	return replaced
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
