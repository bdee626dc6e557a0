package scaledobject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// metrics is what the HPA of an object is built from.
type metrics struct {
	// specs are the HPA's metrics in trigger order.
	specs []autoscalingv2.MetricSpec
	// hashes identifies the triggers that specs were built from, one hash per
	// trigger in order.
	hashes string
	// external and resource are the names for the status, both nil to leave
	// those that are there.
	external, resource []string
}

// outcome is how building went.
type outcome struct {
	metrics
	// usable is false when there is nothing to build an HPA from.
	usable bool
	// waiting is true when all that is missing is the first answer of a family
	// that was just asked.
	waiting bool
	// problems is what is wrong with each trigger, answered or not.
	problems []error
	// warnings are what each family finds odd about its trigger.
	warnings []string
}

// errPending says that a family was asked and has not answered yet.
var errPending = errors.New("no answer yet")

// states answers what a family said about a trigger of the object.
type states func(index int) (federation.State, bool)

// build makes the metrics of an object. A trigger that cannot answer keeps its
// entry of the live HPA as long as the trigger is the one that entry was built
// from. Without such an entry the live metrics stay as they are altogether,
// and with no HPA yet there is nothing to build.
func build(so *v1alpha1.ScaledObject, live *autoscalingv2.HorizontalPodAutoscaler, states states) outcome {
	b := builder{so: so, states: states, kept: keptMetrics(live), built: metrics{hashes: hashes(so), external: []string{}}}
	waiting := b.addAll()
	out := outcome{waiting: waiting > 0 && waiting == len(b.problems)}
	if err := b.finish(); err != nil {
		out.waiting = false
		b.problems = append(b.problems, err)
	}
	out.metrics, out.problems, out.warnings = b.built, b.problems, b.warnings
	if b.unknown {
		out.metrics = frozen(live)
	}
	out.usable = len(out.specs) > 0
	return out
}

type builder struct {
	so       *v1alpha1.ScaledObject
	states   states
	kept     map[string][]autoscalingv2.MetricSpec // live entries by trigger hash and index
	built    metrics
	problems []error
	warnings []string
	unknown  bool // an entry is neither answered nor kept
}

// addAll adds every trigger and counts those that were asked a moment ago.
func (b *builder) addAll() (waiting int) {
	for i, trigger := range b.so.Spec.Triggers {
		err := b.add(i, trigger)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errPending):
			waiting++
			err = fmt.Errorf("no answer yet from Service scaler-%s", trigger.Type)
		}
		b.problems = append(b.problems, &scaling.TriggerError{Index: i, Type: trigger.Type, Err: err})
	}
	return waiting
}

// finish makes of the triggers' metrics those of the HPA.
func (b *builder) finish() error {
	if name, twice := duplicate(b.built.external); twice {
		b.unknown = true
		return fmt.Errorf("metric %s: named twice", name)
	}
	m := b.so.Modifiers()
	if b.unknown || m == nil || len(b.built.external) == 0 {
		return nil
	}
	if err := b.compose(m); err != nil {
		b.unknown = true
		return err
	}
	return nil
}

func (b *builder) add(i int, trigger v1alpha1.ScaleTrigger) error {
	if trigger.Builtin() {
		spec, err := Builtin(trigger)
		if err != nil {
			b.unknown = true
			return err
		}
		b.built.specs = append(b.built.specs, spec)
		if spec.Resource != nil {
			b.built.resource = append(b.built.resource, trigger.Type)
		}
		return nil
	}
	specs, err := b.answered(i, trigger)
	if len(specs) == 0 {
		specs = b.kept[entryKey(i, trigger.Hash())]
		b.unknown = b.unknown || len(specs) == 0
	}
	for _, spec := range specs {
		b.built.specs = append(b.built.specs, spec)
		b.built.external = append(b.built.external, spec.External.Metric.Name)
	}
	return err
}

// answered is what the family says of a trigger; the error is worth reporting
// even when there are specs.
func (b *builder) answered(i int, trigger v1alpha1.ScaleTrigger) ([]autoscalingv2.MetricSpec, error) {
	state, ok := b.states(i)
	if !ok || state.Generation != b.so.Generation {
		return nil, errPending
	}
	b.warn(i, trigger, state)
	var specs []autoscalingv2.MetricSpec
	for _, s := range state.Specs {
		specs = append(specs, external(b.so, scaling.MetricName(i, s.Name), s.Target, trigger.TargetType()))
	}
	switch {
	case state.Rejected != nil:
		return specs, state.Rejected
	case state.Unreachable != nil:
		return specs, state.Unreachable
	case len(specs) > 0:
		return specs, nil // what its source says is the activation loop's business
	case state.Err != nil:
		return nil, state.Err
	}
	return nil, errPending
}

// warn keeps what the family finds odd about a trigger.
func (b *builder) warn(i int, trigger v1alpha1.ScaleTrigger, state federation.State) {
	for _, text := range state.Odd() {
		err := scaling.TriggerError{Index: i, Type: trigger.Type, Err: errors.New(text)}
		b.warnings = append(b.warnings, err.Error())
	}
}

// frozen is the live HPA's own metrics, with the hashes they were built from.
// Their names stand in the status already.
func frozen(live *autoscalingv2.HorizontalPodAutoscaler) metrics {
	if live == nil {
		return metrics{}
	}
	return metrics{specs: live.Spec.Metrics, hashes: live.Annotations[v1alpha1.AnnotationSpecs]}
}

// compose replaces the external metrics by the one that the formula computes.
func (b *builder) compose(m *v1alpha1.ScalingModifiers) error {
	target, err := m.TargetValue()
	if err != nil {
		return err
	}
	b.built.specs = slices.DeleteFunc(b.built.specs, func(s autoscalingv2.MetricSpec) bool { return s.External != nil })
	b.built.specs = append(b.built.specs, external(b.so, scaling.CompositeMetric, target, m.TargetType()))
	return nil
}

func external(so *v1alpha1.ScaledObject, name string, target float64, how autoscalingv2.MetricTargetType) autoscalingv2.MetricSpec {
	quantity := scaling.Quantity(target)
	t := autoscalingv2.MetricTarget{Type: how, AverageValue: &quantity}
	if how == autoscalingv2.ValueMetricType {
		t = autoscalingv2.MetricTarget{Type: how, Value: &quantity}
	}
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ExternalMetricSourceType,
		External: &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{
				Name: name,
				Selector: &metav1.LabelSelector{
					MatchLabels: map[string]string{v1alpha1.LabelScaledObjectName: so.Name},
				},
			},
			Target: t,
		},
	}
}

// keptMetrics are the external metrics of the live HPA by the triggers they
// were built from.
func keptMetrics(live *autoscalingv2.HorizontalPodAutoscaler) map[string][]autoscalingv2.MetricSpec {
	kept := map[string][]autoscalingv2.MetricSpec{}
	if live == nil {
		return kept
	}
	hashes := strings.Split(live.Annotations[v1alpha1.AnnotationSpecs], ",")
	for _, spec := range live.Spec.Metrics {
		if spec.External == nil {
			continue
		}
		i, _, ok := scaling.SplitMetricName(spec.External.Metric.Name)
		if ok && i < len(hashes) {
			key := entryKey(i, hashes[i])
			kept[key] = append(kept[key], spec)
		}
	}
	return kept
}

func entryKey(index int, hash string) string { return fmt.Sprintf("%d/%s", index, hash) }

// hashes identifies the triggers of an object for annotation sluice.dev/specs.
func hashes(so *v1alpha1.ScaledObject) string {
	all := make([]string, len(so.Spec.Triggers))
	for i, trigger := range so.Spec.Triggers {
		all[i] = trigger.Hash()
	}
	return strings.Join(all, ",")
}

func duplicate(names []string) (string, bool) {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return name, true
		}
	}
	return "", false
}
