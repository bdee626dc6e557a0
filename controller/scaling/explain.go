package scaling

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Explanation says how a decision came about: what it looked at, what limited
// it, and who acts next. It is for people and decides nothing.
type Explanation struct {
	// Time of the decision.
	Time time.Time `json:"time"`
	// Replicas before, nil when they could not be read.
	Replicas *int32 `json:"replicas,omitempty"`
	// Write is the number that was to be written, nil for none.
	Write *int32 `json:"write,omitempty"`
	// Metrics are what was known of each metric, in trigger order.
	Metrics []ExplainedMetric `json:"metrics,omitempty"`
	// Formula is what scalingModifiers came to, nil without them or without a
	// result.
	Formula *ExplainedFormula `json:"formula,omitempty"`
	// Limits are what kept the result from being what the metrics ask for.
	Limits []string `json:"limits,omitempty"`
	// Next is who acts next, and on what.
	Next string `json:"next"`
	// NextAt is when time alone may change the decision, nil for never.
	NextAt *time.Time `json:"nextAt,omitempty"`
	// RestAt is when the cooldown ends, nil while none runs.
	RestAt *time.Time `json:"restAt,omitempty"`

	// Jobs is the arithmetic of a ScaledJob, nil for a ScaledObject; Create is how
	// many Jobs were to be started.
	Jobs   *v1alpha1.JobArithmetic `json:"jobs,omitempty"`
	Create int32                   `json:"create,omitempty"`
}

// ExplainedMetric is one metric that a decision looked at.
type ExplainedMetric struct {
	// Name with its s<index>- prefix; the trigger's label while it has none.
	Name string `json:"name"`
	// Outcome is value, no data, error or pending.
	Outcome string `json:"outcome"`
	// Value is the reading, nil without one; Target what it is divided by.
	Value  *float64 `json:"value,omitempty"`
	Target float64  `json:"target,omitempty"`
	// Kind of the target: AverageValue is for one replica, Value for all.
	Kind autoscalingv2.MetricTargetType `json:"kind,omitempty"`
	// Asks is how many replicas the metric asks for, before any limit; nil
	// where only the HPA can tell.
	Asks *int32 `json:"asks,omitempty"`
	// Active is whether it asks for at least one.
	Active bool `json:"active"`
	// Fallback is set while fallback stands in for the metric.
	Fallback bool `json:"fallback,omitempty"`
	// Error says why there is no value.
	Error string `json:"error,omitempty"`
	// Confirmed is when the outcome was last known to hold.
	Confirmed time.Time `json:"confirmed"`
	// ReadAt is when the source was read for the value, zero without one.
	ReadAt time.Time `json:"readAt,omitzero"`
	// Noticed is how that reading came about: doorbell, polling or timer.
	Noticed string `json:"noticed,omitempty"`
}

// ExplainedFormula is what scalingModifiers came to.
type ExplainedFormula struct {
	// Value of the formula.
	Value float64 `json:"value"`
	// Active is whether it exceeds the activation target.
	Active bool `json:"active"`
}

// Explain says how Decide came from in to d.
func Explain(in Input, d Decision) Explanation {
	e := Explanation{Time: in.Now, Replicas: in.Replicas, Write: d.Write}
	if !d.Next.IsZero() {
		e.NextAt = &d.Next
	}
	if in.Object.Paused() {
		e.Limits, e.Next = []string{"scaling is paused"}, "the user, by removing the annotation"
		return e
	}
	in.Triggers = in.rules(nil).every(in.Triggers)
	for i, t := range in.Triggers {
		if i < len(d.Verdicts) && !in.trigger(t).Builtin() {
			e.Metrics = append(e.Metrics, explained(in.Object.Spec.Triggers, in.Object.Modifiers() != nil, t, d.Verdicts[i])...)
		}
	}
	if d.Active != nil && d.Active.Reason == v1alpha1.ReasonScalerCooldown {
		end := cooldownEnd(in)
		e.RestAt = &end
	}
	e.Formula = explainedFormula(in, d)
	e.Limits = limits(in, d, e)
	e.Next = next(in, d)
	return e
}

var outcomeWords = map[Outcome]string{Pending: "pending", Value: "value", NoData: "no data", Failed: "error"}

// String is the outcome in a word for people.
func (o Outcome) String() string { return outcomeWords[o] }

// explained are the metrics of a trigger. composite is true where a formula asks in
// their place.
func explained(triggers []v1alpha1.ScaleTrigger, composite bool, t Trigger, v Verdict) []ExplainedMetric {
	whole := ExplainedMetric{
		Name: label(triggers, t), Outcome: v.Outcome.String(), Fallback: v.Fallback, Confirmed: t.Confirmed, Noticed: t.Noticed,
	}
	if v.Err != nil {
		whole.Error = v.Err.Error()
	}
	if len(t.Metrics) == 0 {
		return []ExplainedMetric{whole}
	}
	var all []ExplainedMetric
	for _, m := range t.Metrics {
		one := whole
		one.Name, one.Target, one.Kind, one.Active = m.Name, m.Target, m.Type, t.Pulse
		if v.Outcome == Value && usable(m.Value) {
			value := m.Value
			one.Value, one.Active, one.ReadAt = &value, m.Active || t.Pulse, t.ReadAt
			if m.Type != autoscalingv2.ValueMetricType && m.Target > 0 && !composite {
				asks := DesiredReplicas(m.Value, m.Target, 0, math.MaxInt32)
				one.Asks = &asks
			}
		}
		all = append(all, one)
	}
	return all
}

func explainedFormula(in Input, d Decision) *ExplainedFormula {
	m := in.Object.Modifiers()
	if m == nil || in.Formula == nil || len(d.Verdicts) != len(in.Triggers) {
		return nil
	}
	value, some, err := in.Formula.Eval(FormulaValues(in.Object, known(in, d.Verdicts)))
	threshold, badThreshold := m.ActivationValue()
	if err != nil || badThreshold != nil || !some {
		return nil
	}
	return &ExplainedFormula{Value: value, Active: value > threshold}
}

// asked is the most that the metrics ask for, false when none says.
func (e Explanation) asked() (metric ExplainedMetric, ok bool) {
	for _, m := range e.Metrics {
		if m.Asks != nil && (!ok || *m.Asks > *metric.Asks) {
			metric, ok = m, true
		}
	}
	return metric, ok
}

// limits are what kept a decision from following the metrics.
func limits(in Input, d Decision, e Explanation) []string {
	var all []string
	so := in.Object
	if in.Replicas == nil {
		return []string{d.Ready.Message}
	}
	if so.ForceActivation() {
		all = append(all, "activation is forced")
	}
	if so.ScaleInPaused() {
		all = append(all, "scaling in is paused")
	}
	if so.ScaleOutPaused() {
		all = append(all, "scaling out is paused")
	}
	if d.Active != nil && d.Active.Reason == v1alpha1.ReasonScalerCooldown {
		all = append(all, "the cooldown lasts until "+cooldownEnd(in).UTC().Format(time.RFC3339))
	} else if d.Active != nil && d.Active.Message != "" && d.Active.Message != seeReady {
		all = append(all, d.Active.Message)
	}
	asked, ok := e.asked()
	if !ok || d.Write == nil || *d.Write >= *asked.Asks {
		return all
	}
	switch {
	case *d.Write == so.MaxReplicas():
		all = append(all, fmt.Sprintf("maxReplicaCount is %d", so.MaxReplicas()))
	case *d.Write > 0:
		all = append(all, "the HPA's behavior limits the rise")
	}
	return all
}

// next is who acts next.
func next(in Input, d Decision) string {
	if in.Replicas == nil {
		return "the controller, once the replicas can be read"
	}
	replicas := *in.Replicas
	if d.Write != nil {
		replicas = *d.Write
	}
	active := d.Active != nil && d.Active.Status == "True"
	switch {
	case AtRest(in.Object, replicas):
		return "the controller, when a trigger turns active"
	case active:
		return "the HPA, at its next sync"
	case in.Object.MinReplicas() > 0 && in.Object.Spec.IdleReplicaCount == nil:
		return "the HPA, at its next sync"
	}
	return "the controller, when the triggers stay inactive"
}

// String is the explanation in one line.
func (e Explanation) String() string {
	var b strings.Builder
	switch {
	case e.Jobs != nil:
		b.WriteString(e.started())
	case e.Replicas == nil:
		b.WriteString("replicas unknown")
	case e.Write != nil:
		fmt.Fprintf(&b, "%d to %d replicas", *e.Replicas, *e.Write)
	default:
		fmt.Fprintf(&b, "%d replicas stay", *e.Replicas)
	}
	separator := ": "
	for _, m := range e.Metrics {
		b.WriteString(separator)
		separator = ", "
		b.WriteString(m.String())
	}
	if e.Formula != nil {
		fmt.Fprintf(&b, "%sformula %s", separator, short(e.Formula.Value))
	}
	for _, l := range e.Limits {
		b.WriteString("; " + l)
	}
	b.WriteString("; next: " + e.Next)
	return brief(b.String())
}

func (m ExplainedMetric) String() string {
	text := m.Name + " "
	switch {
	case m.Fallback:
		text += "in fallback"
	case m.Value == nil:
		text += m.Outcome
	default:
		text += short(*m.Value)
		if m.Target > 0 {
			text += " at " + short(m.Target)
		}
	}
	if m.Asks != nil {
		text += " asks for " + strconv.Itoa(int(*m.Asks))
	}
	return text
}

// short writes a number as Quantity rounds it.
func short(v float64) string { return strconv.FormatFloat(asTold(v), 'g', -1, 64) }
