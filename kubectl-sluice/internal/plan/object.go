package plan

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Threshold is what a trigger scales by.
type Threshold struct {
	// Target is what one replica carries, Activation what has to be exceeded to
	// leave zero.
	Target, Activation float64
}

// ParseThreshold reads <trigger>=<target>[:<activation>].
func ParseThreshold(text string) (trigger int, t Threshold, err error) {
	wrong := fmt.Errorf("%q is not <trigger index>=<target>[:<activation>], such as 0=20 or 0=20:5", text)
	index, numbers, ok := strings.Cut(text, "=")
	if !ok {
		return 0, t, wrong
	}
	if trigger, err = strconv.Atoi(index); err != nil || trigger < 0 {
		return 0, t, wrong
	}
	target, activation, both := strings.Cut(numbers, ":")
	if t.Target, err = strconv.ParseFloat(target, 64); err != nil || !(t.Target > 0) {
		return 0, t, wrong
	}
	if both {
		if t.Activation, err = strconv.ParseFloat(activation, 64); err != nil {
			return 0, t, wrong
		}
	}
	return trigger, t, nil
}

// Side is a spec that values are replayed through.
type Side struct {
	// Name of it, for people.
	Name string
	// Object is the spec. It is not changed.
	Object *v1alpha1.ScaledObject
	// Thresholds are those of triggers whose metadata does not say them, by index.
	Thresholds map[int]Threshold

	metrics [][]metric // of each trigger, none of cpu and memory
}

// metric is one that a trigger has, and what was recorded of it.
type metric struct {
	name string
	Threshold
	kind   autoscalingv2.MetricTargetType
	points []Point
}

// bind finds out what each trigger scales by and what was recorded of it. names
// are the metrics that the object has in the cluster.
func (s *Side) bind(r *Recording, names []string) error {
	var wrong problems
	so := s.Object
	if err := so.Validate(); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			wrong.add("%s: %s", s.Name, line)
		}
	}
	s.counts(&wrong)
	s.metrics = make([][]metric, len(so.Spec.Triggers))
	if len(so.Spec.Triggers) > 0 && so.OnlyBuiltins() {
		wrong.add("%s: cpu and memory are measured in Pods and cannot be replayed, and the object has no other trigger", s.Name)
	}
	s.place(r, names, &wrong)
	for i, trigger := range so.Spec.Triggers {
		if trigger.Builtin() {
			continue
		}
		if len(s.metrics[i]) == 0 {
			wrong.add("%s: trigger %d (%s): %s has no values of it, only of %s", s.Name, i, trigger.Type, r.From, strings.Join(r.names(), ", "))
		}
		threshold, err := s.threshold(i)
		if err != nil && so.Modifiers() == nil {
			wrong.add("%s: trigger %d (%s): %w", s.Name, i, trigger.Type, err)
		}
		for n := range s.metrics[i] {
			s.metrics[i][n].Threshold, s.metrics[i][n].kind = threshold, trigger.TargetType()
		}
	}
	if so.Modifiers() != nil {
		if _, err := scaling.FormulaOf(so); err != nil {
			wrong.add("%s: %w", s.Name, err)
		}
	}
	return wrong.err()
}

// mostPods is what a target may have in a replay: each is remembered.
const mostPods = 100_000

// counts refuses more replicas than can be replayed.
func (s *Side) counts(wrong *problems) {
	so := s.Object
	paused, err := so.PausedReplicas()
	if err != nil {
		wrong.add("%s: %w", s.Name, err)
	}
	for field, n := range map[string]*int32{
		"maxReplicaCount": new(so.MaxReplicas()), "minReplicaCount": so.Spec.MinReplicaCount,
		"idleReplicaCount": so.Spec.IdleReplicaCount, "annotation " + v1alpha1.AnnotationPausedReplicas: paused,
	} {
		if n != nil && *n > mostPods {
			wrong.add("%s: %s: %d is more than the %d replicas that can be replayed", s.Name, field, *n, mostPods)
		}
	}
}

// names are what a recording calls its triggers.
func (r *Recording) names() []string {
	names := slices.Sorted(maps.Keys(r.Series))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	const most = 10
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return names
}

// place gives each series to the trigger that it is about.
func (s *Side) place(r *Recording, names []string, wrong *problems) {
	for _, series := range slices.Sorted(maps.Keys(r.Series)) {
		i, name, err := s.triggerOf(series)
		if err != nil {
			wrong.add("%s: %s, trigger %q: %w", s.Name, r.From, series, err)
			continue
		}
		if s.Object.Spec.Triggers[i].Builtin() {
			wrong.add("%s: %s, trigger %q: is %s, which is measured in Pods and cannot be replayed", s.Name, r.From, series, s.Object.Spec.Triggers[i].Type)
			continue
		}
		if name == "" {
			name = named(i, s.Object.Spec.Triggers[i].Type, names)
		}
		s.metrics[i] = append(s.metrics[i], metric{name: name, points: r.Series[series]})
	}
}

// named is the metric of a trigger as the cluster calls it, or nearly so.
func named(index int, triggerType string, names []string) string {
	for _, name := range names {
		if i, _, ok := scaling.SplitMetricName(name); ok && i == index {
			return name
		}
	}
	return scaling.MetricName(index, triggerType)
}

// triggerOf is the index that a series means, and the metric where it names one.
func (s *Side) triggerOf(series string) (index int, metric string, err error) {
	triggers := s.Object.Spec.Triggers
	if series == "" {
		found := -1
		for i, t := range triggers {
			if !t.Builtin() && found >= 0 {
				return 0, "", errors.New("the object has several; column trigger says which")
			}
			if !t.Builtin() {
				found = i
			}
		}
		if found < 0 {
			return 0, "", errors.New("the object has none that can be replayed")
		}
		return found, "", nil
	}
	for i, t := range triggers {
		if t.Name != "" && t.Name == series {
			return i, "", nil
		}
	}
	i, err := strconv.Atoi(series)
	if err != nil {
		var ok bool
		if i, _, ok = scaling.SplitMetricName(series); !ok {
			return 0, "", errors.New("is neither the index of a trigger, nor its name, nor that of its metric, such as s0-rabbitmq-orders")
		}
		metric = series
	}
	if i < 0 || i >= len(triggers) {
		return 0, "", fmt.Errorf("there is no trigger %d, the object has %d", i, len(triggers))
	}
	return i, metric, nil
}

// threshold is what a trigger scales by, as its metadata says.
func (s *Side) threshold(index int) (t Threshold, err error) {
	trigger := s.Object.Spec.Triggers[index]
	if given, ok := s.Thresholds[index]; ok {
		return given, nil
	}
	switch {
	case trigger.Type == "cron": // which reads how many replicas it wants
		return Threshold{Target: 1}, nil
	case strings.TrimSpace(trigger.Metadata["lagCount"]) != "": // of redis streams, in place of the others
		return t, fmt.Errorf("lagCount: %s", asTarget(index))
	}
	family := families.Of(trigger.Type)
	if family == nil {
		return t, fmt.Errorf("no family of this version serves the type; %s", asTarget(index))
	}
	target, err := roled(trigger, family.Types[trigger.Type], scalerv1.ParameterRole_PARAMETER_ROLE_TARGET)
	switch {
	case err != nil:
		return t, fmt.Errorf("%w; %s", err, asTarget(index))
	case !(target > 0):
		return t, errors.New("the target is not greater than 0")
	}
	activation, err := roled(trigger, family.Types[trigger.Type], scalerv1.ParameterRole_PARAMETER_ROLE_ACTIVATION)
	if err != nil {
		activation = 0
	}
	return Threshold{target, activation}, nil
}

// asTarget is what helps where the metadata does not.
func asTarget(index int) string {
	return fmt.Sprintf("--target %d=<target>[:<activation>] says by what it scales", index)
}

// roled is the parameter of a trigger with a role: the one that is given, else the
// one that has a default.
func roled(trigger v1alpha1.ScaleTrigger, description *scalerv1.TriggerType, role scalerv1.ParameterRole) (float64, error) {
	var roles, given, usual []string
	for _, p := range description.GetParameters() {
		if p.GetRole() != role {
			continue
		}
		roles = append(roles, p.GetName())
		if p.GetDefaultValue() != "" {
			usual = append(usual, p.GetDefaultValue())
		}
		for _, key := range append([]string{p.GetName()}, p.GetAliases()...) {
			if strings.TrimSpace(trigger.Metadata[key]) != "" {
				given = append(given, key)
				break
			}
		}
	}
	switch {
	case len(given) == 1:
		text := strings.TrimSpace(trigger.Metadata[given[0]])
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, fmt.Errorf("%s: %q is not a number", given[0], text)
		}
		return v, nil
	case len(given) > 1:
		return 0, fmt.Errorf("%s: which of them counts follows from other parameters", strings.Join(given, ", "))
	case len(usual) == 1:
		return strconv.ParseFloat(usual[0], 64)
	case len(roles) == 0:
		return 0, errors.New("its metadata does not say the target")
	}
	return 0, fmt.Errorf("%s: missing", strings.Join(roles, " or "))
}

// measured are the parameters of a trigger that say what is read, and how.
func measured(t v1alpha1.ScaleTrigger) map[string]string {
	rest := maps.Clone(t.Metadata)
	family := families.Of(t.Type)
	if family == nil {
		return rest
	}
	for _, p := range family.Types[t.Type].GetParameters() {
		if p.GetRole() == scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED {
			continue
		}
		for _, key := range append([]string{p.GetName()}, p.GetAliases()...) {
			delete(rest, key)
		}
	}
	return rest
}

// differences are what makes recorded values of one spec say less about another.
func differences(before, after *v1alpha1.ScaledObject) (notes []string) {
	for i, now := range after.Spec.Triggers {
		switch {
		case now.Builtin():
		case i >= len(before.Spec.Triggers) || before.Spec.Triggers[i].Type != now.Type:
			notes = append(notes, fmt.Sprintf("trigger %d (%s) is new: the values are taken to be its own", i, now.Type))
		default:
			a, b := measured(before.Spec.Triggers[i]), measured(now)
			var keys []string
			for key := range b {
				if a[key] != b[key] {
					keys = append(keys, key)
				}
			}
			for key := range a {
				if _, kept := b[key]; !kept {
					keys = append(keys, key)
				}
			}
			if slices.Sort(keys); len(keys) > 0 {
				notes = append(notes, fmt.Sprintf("trigger %d (%s): %s differs, so it may read other values than those that were recorded", i, now.Type, strings.Join(keys, ", ")))
			}
		}
	}
	for i, t := range after.Spec.Triggers {
		if t.Builtin() {
			notes = append(notes, fmt.Sprintf("trigger %d (%s) is left out: it is measured in Pods, and may ask for more", i, t.Type))
		}
	}
	return notes
}
