package scaledobject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validate/content"

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
	// usable is false when there is nothing to build an HPA from, or not yet.
	usable bool
	// waiting is true while a family was asked only a moment ago.
	waiting bool
	// problems is what is wrong with each trigger, answered or not.
	problems []error
	// warnings are what each family finds odd about its trigger.
	warnings []string
}

// errPending says that a family was asked and has not answered yet.
var errPending = errors.New("no answer yet")

// errNoHPA is the last problem of an object none of whose triggers can be
// served.
var errNoHPA = errors.New("there is no HPA until a trigger can be served: the replicas are kept, at minReplicaCount at least")

// states answers what a family said about a trigger of the object.
type states func(index int) (federation.State, bool)

// build makes the metrics of an object out of the triggers that can be served,
// each under its own index. One that cannot be holds up none of the others: in
// the live HPA it keeps its place, so that what it asked for is not taken away,
// and a new one waits outside. fresh is true for a moment after the spec
// changed, in which a missing answer is no news.
func build(so *v1alpha1.ScaledObject, live *autoscalingv2.HorizontalPodAutoscaler, states states, fresh bool) outcome {
	if live != nil {
		plain := *live
		plain.Spec.Metrics = scaling.WithoutNudge(live.Spec.Metrics)
		live = &plain
	}
	b := builder{
		so: so, states: states, fresh: fresh, fallback: scaling.FallbackOf(so) != nil, live: placesOf(so, live), resources: resourcesOf(live),
		built: metrics{external: []string{}}, hashes: make([]string, len(so.Spec.Triggers)),
	}
	for i, trigger := range so.Spec.Triggers {
		if err := b.add(i, trigger); err != nil {
			b.problems = append(b.problems, &scaling.TriggerError{Index: i, Type: trigger.Type, Err: err})
		}
	}
	b.finish()
	if len(b.built.specs) == 0 {
		b.built = frozen(live)
	}
	out := outcome{metrics: b.built, waiting: b.pending && fresh, problems: b.problems, warnings: b.warnings}
	out.usable = len(out.specs) > 0 && (live != nil || !out.waiting)
	if len(out.specs) == 0 {
		out.problems = append(out.problems, errNoHPA)
	}
	return out
}

type builder struct {
	so        *v1alpha1.ScaledObject
	states    states
	fresh     bool
	fallback  bool // something stands in for a trigger that fails
	live      map[int]place
	resources []autoscalingv2.MetricSpec // cpu and memory of the live HPA

	built    metrics
	hashes   []string
	spare    []autoscalingv2.MetricSpec // named, but of triggers that cannot be served
	problems []error
	warnings []string
	pending  bool
}

// add adds what there is of a trigger; the error is worth reporting even when
// there is something.
func (b *builder) add(i int, trigger v1alpha1.ScaleTrigger) error {
	b.hashes[i] = trigger.Hash()
	if trigger.Builtin() {
		return b.builtin(i, trigger)
	}
	specs, err := b.answered(i, trigger)
	var refused *refusedError
	if served := len(specs) > 0 && !errors.As(err, &refused); served {
		b.external(specs)
		return err
	}
	if kept := b.kept(i); len(kept) > 0 {
		b.external(kept)
	} else {
		b.unserved(i, trigger, specs, err)
	}
	if errors.Is(err, errPending) {
		b.pending = true
		return fmt.Errorf("no answer yet from Service scaler-%s", trigger.Type)
	}
	return err
}

// builtin adds cpu or memory. While the trigger is wrong, what the live HPA
// measures of that resource stays.
func (b *builder) builtin(i int, trigger v1alpha1.ScaleTrigger) error {
	err := b.so.TriggerProblem(i)
	if err == nil {
		var spec autoscalingv2.MetricSpec
		if spec, err = scaling.Builtin(trigger); err == nil {
			b.resource(spec)
			return nil
		}
	}
	for _, spec := range b.resources {
		if resourceOf(spec) == trigger.Type {
			b.resource(spec)
		}
	}
	return err
}

func (b *builder) resource(spec autoscalingv2.MetricSpec) {
	b.built.specs = append(b.built.specs, spec)
	if spec.Resource != nil {
		b.built.resource = append(b.built.resource, string(spec.Resource.Name))
	}
}

func (b *builder) external(specs []autoscalingv2.MetricSpec) {
	for _, spec := range specs {
		b.built.specs = append(b.built.specs, spec)
		b.built.external = append(b.built.external, spec.External.Metric.Name)
	}
}

// unserved finds a place for a trigger that nobody serves as it stands. Where
// the live HPA has one it is kept, and where a fallback stands in for the
// trigger it needs one. Otherwise its metrics, as far as they are known, are
// used only when there is nothing else.
func (b *builder) unserved(i int, trigger v1alpha1.ScaleTrigger, named []autoscalingv2.MetricSpec, err error) {
	stale := b.stale(i)
	waits := errors.Is(err, errPending) && b.fresh
	switch {
	case len(stale) > 0: // an edit that is refused loses nothing
		b.hashes[i] = b.live[i].hash
		b.external(stale)
	case b.fallback && len(named) > 0:
		b.external(named)
	case b.fallback && !waits:
		b.external([]autoscalingv2.MetricSpec{scaling.External(b.so, scaling.MetricName(i, trigger.Type), 1, trigger.TargetType())})
	default:
		b.spare = append(b.spare, named...)
	}
}

// finish makes of the triggers' metrics those of the HPA.
func (b *builder) finish() {
	m := b.so.Modifiers()
	switch {
	case m != nil && !b.so.OnlyBuiltins():
		if err := b.compose(m); err != nil {
			b.problems = append(b.problems, err)
		}
	case len(b.built.specs) == 0:
		b.external(b.spare)
	}
	b.built.hashes = strings.Join(b.hashes, ",")
}

// refusedError says that a trigger cannot be served as it stands.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// answered is what the family says of a trigger; the error is worth reporting
// even when there are specs.
func (b *builder) answered(i int, trigger v1alpha1.ScaleTrigger) ([]autoscalingv2.MetricSpec, error) {
	if err := b.so.TriggerProblem(i); err != nil {
		return nil, &refusedError{err}
	}
	state, ok := b.states(i)
	if !ok || !state.Unkept && state.Generation != b.so.Generation {
		return nil, errPending
	}
	b.warn(i, trigger, state)
	specs, err := b.named(i, trigger, state.Specs)
	switch {
	case state.Rejected != nil:
		return specs, &refusedError{state.Rejected}
	case err != nil:
		return nil, &refusedError{err}
	case state.Unreachable != nil:
		return specs, state.Unreachable
	case len(specs) > 0:
		return specs, nil // what its source says is the activation loop's business
	case state.Err != nil:
		return nil, state.Err
	}
	return nil, errPending
}

// named are the metrics of a trigger as the HPA takes them. The error is about
// those that it would refuse, and the whole HPA with them.
func (b *builder) named(i int, trigger v1alpha1.ScaleTrigger, given []federation.MetricSpec) ([]autoscalingv2.MetricSpec, error) {
	var specs []autoscalingv2.MetricSpec
	if len(b.built.external)+len(given) > v1alpha1.MostMetrics {
		return nil, fmt.Errorf("%d metrics, with those of the triggers before it more than the %d that an object may have", len(given), v1alpha1.MostMetrics)
	}
	seen := map[string]bool{}
	for _, s := range given {
		name := scaling.MetricName(i, s.Name)
		quantity := scaling.Quantity(s.Target)
		switch problems := content.IsPathSegmentName(name); {
		case len(problems) > 0:
			return nil, fmt.Errorf("metric %q: an HPA takes no name that %s", name, problems[0])
		case seen[name]:
			return nil, fmt.Errorf("metric %s: named twice", name)
		case quantity.Sign() <= 0 && b.so.Modifiers() == nil:
			return nil, fmt.Errorf("metric %s: target %v is not greater than 0", name, s.Target)
		}
		seen[name] = true
		specs = append(specs, scaling.External(b.so, name, s.Target, trigger.TargetType()))
	}
	return specs, nil
}

// warn keeps what the family finds odd about a trigger.
func (b *builder) warn(i int, trigger v1alpha1.ScaleTrigger, state federation.State) {
	for _, text := range state.Odd() {
		err := scaling.TriggerError{Index: i, Type: trigger.Type, Err: errors.New(text)}
		b.warnings = append(b.warnings, err.Error())
	}
}

// place is what the live HPA has of one trigger.
type place struct {
	hash  string // of the trigger that it was built from, "" where that is not known
	specs []autoscalingv2.MetricSpec
}

// placesOf are the triggers' places in the live HPA by index. Of triggers that
// feed a formula only the names are known, from the status.
func placesOf(so *v1alpha1.ScaledObject, live *autoscalingv2.HorizontalPodAutoscaler) map[int]place {
	places := map[int]place{}
	if live == nil {
		return places
	}
	hashes := strings.Split(live.Annotations[v1alpha1.AnnotationSpecs], ",")
	put := func(spec autoscalingv2.MetricSpec) {
		i, _, ok := scaling.SplitMetricName(spec.External.Metric.Name)
		if !ok {
			return
		}
		p := places[i]
		if i < len(hashes) {
			p.hash = hashes[i]
		}
		p.specs = append(p.specs, spec)
		places[i] = p
	}
	composite := false
	for _, spec := range live.Spec.Metrics {
		if spec.External != nil {
			composite = composite || spec.External.Metric.Name == scaling.CompositeMetric
			put(spec)
		}
	}
	if composite && so.Modifiers() != nil {
		for _, name := range so.Status.ExternalMetricNames {
			put(scaling.External(so, name, 0, autoscalingv2.AverageValueMetricType))
		}
	}
	return places
}

// kept are the metrics that the live HPA has of the very same trigger, under
// whatever index it had.
func (b *builder) kept(i int) []autoscalingv2.MetricSpec {
	if b.live[i].hash == b.hashes[i] {
		return b.live[i].specs
	}
	for _, p := range b.live {
		if p.hash == b.hashes[i] {
			return moved(p.specs, i)
		}
	}
	return nil
}

// moved are metrics under another trigger's index.
func moved(specs []autoscalingv2.MetricSpec, to int) []autoscalingv2.MetricSpec {
	renamed := make([]autoscalingv2.MetricSpec, len(specs))
	for n := range specs {
		renamed[n] = *specs[n].DeepCopy()
		_, own, _ := scaling.SplitMetricName(specs[n].External.Metric.Name)
		renamed[n].External.Metric.Name = scaling.MetricName(to, own)
	}
	return renamed
}

// stale are the metrics under a trigger's index from before it was changed.
// They say nothing any more, and so keep the HPA from taking away what the
// trigger had asked for. Those of a trigger that only moved are not its.
func (b *builder) stale(i int) []autoscalingv2.MetricSpec {
	p := b.live[i]
	elsewhere := func(t v1alpha1.ScaleTrigger) bool { return t.Hash() == p.hash }
	if slices.ContainsFunc(b.so.Spec.Triggers, elsewhere) {
		return nil
	}
	return p.specs
}

// resourcesOf are cpu and memory in the live HPA.
func resourcesOf(live *autoscalingv2.HorizontalPodAutoscaler) []autoscalingv2.MetricSpec {
	var specs []autoscalingv2.MetricSpec
	if live != nil {
		for _, spec := range live.Spec.Metrics {
			if resourceOf(spec) != "" {
				specs = append(specs, spec)
			}
		}
	}
	return specs
}

// resourceOf is cpu, memory, or "" for a metric of another kind.
func resourceOf(spec autoscalingv2.MetricSpec) string {
	switch {
	case spec.Resource != nil:
		return string(spec.Resource.Name)
	case spec.ContainerResource != nil:
		return string(spec.ContainerResource.Name)
	}
	return ""
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
	b.built.specs = append(b.built.specs, scaling.External(b.so, scaling.CompositeMetric, target, m.TargetType()))
	return nil
}
