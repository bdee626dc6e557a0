package why

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/coldstart"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/cures"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
)

// Report is what there is to say.
type Report struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Time      time.Time `json:"time"`
	// Source is "controller", or "API server" where no controller tells.
	Source string `json:"source"`
	// Summary is how it stands, in one sentence.
	Summary string `json:"summary"`
	// Paused is set while somebody paused it, PauseReason why.
	Paused      bool    `json:"paused,omitempty"`
	PauseReason string  `json:"pauseReason,omitempty"`
	Inputs      []Input `json:"inputs,omitempty"`
	// Formula is what scalingModifiers came to, "" without them.
	Formula string `json:"formula,omitempty"`
	// Result is what came of it.
	Result string `json:"result,omitempty"`
	// Limits are what kept the result from being what the inputs ask for.
	Limits []string `json:"limits,omitempty"`
	// Cures are what helps where a condition is not well, by its reason.
	Cures []cures.Cure `json:"cures,omitempty"`
	// Next says who acts next, and when.
	Next []string `json:"next,omitempty"`
	// Changes say what would change it.
	Changes []string `json:"changes,omitempty"`
	// ColdStart is the last one, nil for a ScaledJob.
	ColdStart *coldstart.Last `json:"coldStart,omitempty"`
	// Earlier are decisions before, the latest first.
	Earlier []Line  `json:"earlier,omitempty"`
	Events  []Event `json:"events,omitempty"`
	// Missing is what could not be found out.
	Missing []string `json:"missing,omitempty"`

	cured map[string]string // what helps against a limit
}

// Line is a decision in words.
type Line struct {
	Since time.Time `json:"since"`
	Times int       `json:"times,omitempty"`
	Text  string    `json:"text"`
}

// Input is one metric. Its outcome is value, no data, error or pending, and "not
// known" where nobody tells.
type Input struct {
	Metric  string   `json:"metric"`
	Type    string   `json:"type,omitempty"`
	Outcome string   `json:"outcome"`
	Value   *float64 `json:"value,omitempty"`
	Target  float64  `json:"target,omitempty"`
	// Whole is set where the target is for all replicas together.
	Whole  bool   `json:"whole,omitempty"`
	Asks   *int32 `json:"asks,omitempty"`
	Active bool   `json:"active"`
	// Above is what the value has to exceed to be work, nil where nobody says.
	Above    *float64 `json:"above,omitempty"`
	Fallback bool     `json:"fallback,omitempty"`
	Error    string   `json:"error,omitempty"`
	// Failures are those in a row, as status.health has them.
	Failures int32 `json:"failures,omitempty"`
	// ReadAt is when the source was read, Noticed how that came about: doorbell,
	// polling, timer, or HPA where it is what the HPA was told.
	ReadAt  time.Time `json:"readAt,omitzero"`
	Noticed string    `json:"noticed,omitempty"`
}

const unknown = "not known"

// report is one that is being made.
type report struct {
	*Facts
	Report

	spec        []v1alpha1.ScaleTrigger
	conditions  v1alpha1.Conditions
	annotations map[string]string
}

// Of says what follows from facts.
func Of(f *Facts) *Report {
	r := &report{Facts: f, Report: Report{
		Kind: f.Kind, Namespace: f.Namespace, Name: f.Name, Time: f.Now, Source: "API server", Events: f.Events, Missing: f.Missing,
	}}
	if f.ScaledJob != nil {
		r.spec, r.conditions, r.annotations = f.ScaledJob.Spec.Triggers, f.ScaledJob.Status.Conditions, f.ScaledJob.Annotations
		r.Paused = f.ScaledJob.Paused()
	} else {
		r.spec, r.conditions, r.annotations = f.ScaledObject.Spec.Triggers, f.ScaledObject.Status.Conditions, f.ScaledObject.Annotations
		r.Paused = f.ScaledObject.Paused()
	}
	if r.Paused {
		r.PauseReason = r.annotations[v1alpha1.AnnotationPauseReason]
	}
	if f.ScaledObject != nil {
		r.ColdStart = ptr.To(coldstart.Of(f.ScaledObject))
	}
	if f.Account != nil {
		r.Source = "controller"
		r.told()
	} else {
		r.untold()
	}
	r.ready()
	if f.ScaledJob != nil {
		r.jobs()
	} else {
		r.replicas()
	}
	return &r.Report
}

// told takes what the controller says.
func (r *report) told() {
	a := r.Account
	if r.ColdStart != nil && !a.Now.IsZero() { // else it is of one that measures none
		r.ColdStart = ptr.To(r.ColdStart.With(a.ColdStart))
	}
	if !r.Paused {
		for _, m := range a.Last.Metrics {
			r.Inputs = append(r.Inputs, r.input(m))
		}
		if f := a.Last.Formula; f != nil {
			r.Formula = fmt.Sprintf("the formula comes to %s, %s", number(f.Value), activity(f.Active))
		}
		r.Limits = append(r.Limits, a.Last.Limits...)
		r.Result = said(a.Last) + alike(a.Since, a.Times)
	} else {
		r.Earlier = append(r.Earlier, Line{Since: a.Since, Times: a.Times, Text: a.Last.String()})
	}
	for _, d := range a.Earlier {
		r.Earlier = append(r.Earlier, Line{Since: d.Since, Times: d.Times, Text: d.Last.String()})
	}
	if len(a.Earlier) == 0 { // of a controller that keeps none, or that leads since now
		r.changes(a.Changes)
	}
}

// changes are what a status has of decisions before.
func (r *report) changes(all []v1alpha1.Decision) {
	for _, d := range all {
		r.Earlier = append(r.Earlier, Line{Since: d.Time.Time, Text: d.Message})
	}
}

// said is a decision without its inputs, which are told beside it.
func said(e scaling.Explanation) string {
	switch {
	case e.Jobs != nil:
		e.Metrics, e.Limits = nil, nil
		text, _, _ := strings.Cut(e.String(), ";")
		return text
	case e.Replicas == nil:
		return "the replicas are not known"
	case e.Write != nil:
		return fmt.Sprintf("%d to %d replicas", *e.Replicas, *e.Write)
	}
	return fmt.Sprintf("%d replicas stay", *e.Replicas)
}

func alike(since time.Time, times int) string {
	if times < 2 {
		return ""
	}
	return fmt.Sprintf(", as in all %d decisions since %s", times, clock(since))
}

func (r *report) input(m scaling.ExplainedMetric) Input {
	in := Input{
		Metric: m.Name, Outcome: m.Outcome, Value: m.Value, Target: m.Target, Whole: m.Kind == autoscalingv2.ValueMetricType, Asks: m.Asks,
		Active: m.Active, Fallback: m.Fallback, Error: m.Error, ReadAt: m.ReadAt, Noticed: m.Noticed,
	}
	if in.ReadAt.IsZero() {
		in.ReadAt = m.Confirmed
	}
	r.about(&in)
	return in
}

// about adds what the spec says of an input.
func (r *report) about(in *Input) {
	index, ok := trigger(in.Metric)
	if !ok || index >= len(r.spec) {
		return
	}
	spec := r.spec[index]
	in.Type = spec.Type
	in.Above = above(spec)
}

// trigger is the index of the one that a metric, or a trigger without one, is of.
func trigger(metric string) (int, bool) {
	if index, _, ok := scaling.SplitMetricName(metric); ok {
		return index, true
	}
	var index int
	_, err := fmt.Sscanf(metric, "trigger %d (", &index)
	return index, err == nil && index >= 0
}

// above is what a trigger's value has to exceed to be work: its parameter for that,
// 0 where it is not given, nil for a type that has none, and where it is no number or
// two are given.
func above(spec v1alpha1.ScaleTrigger) *float64 {
	family := families.Of(spec.Type)
	if family == nil {
		return nil
	}
	known, given := false, []string(nil)
	for _, p := range family.Types[spec.Type].GetParameters() {
		if !isActivation(p.GetName()) {
			continue
		}
		known = true
		for _, name := range append([]string{p.GetName()}, p.GetAliases()...) {
			if text, is := spec.Metadata[name]; is {
				given = append(given, text)
			}
		}
	}
	switch {
	case !known || len(given) > 1:
		return nil
	case len(given) == 0:
		return new(float64)
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(given[0]), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil // a quantity, or wrong
	}
	return &v
}

// isActivation reports whether a parameter is what a value has to exceed: all that
// are called so in their families' tables.
func isActivation(parameter string) bool { return strings.HasPrefix(parameter, "activation") }

// untold takes what the API server has, where no controller tells.
func (r *report) untold() {
	names, active, health, replaced := r.status()
	if r.Paused {
		names = nil
	}
	read := reported(r.HPA)
	for _, name := range names {
		in := Input{Metric: name, Outcome: unknown, Active: active[name].IsActive, Fallback: replaced[name]}
		if h := health[name]; h.NumberOfFailures != nil && h.Status == v1alpha1.HealthFailing {
			in.Outcome, in.Failures = "error", *h.NumberOfFailures
		}
		if v, ok := read[name]; ok && in.Outcome != "error" {
			in.Outcome, in.Value, in.Target, in.Whole, in.Noticed = "value", &v.value, v.target, v.whole, "HPA"
		}
		r.about(&in)
		r.Inputs = append(r.Inputs, in)
	}
	if r.ScaledObject != nil {
		r.changes(r.ScaledObject.Status.Decisions)
	}
}

func (r *report) status() (names []string, active map[string]v1alpha1.TriggerActivity, health map[string]v1alpha1.HealthStatus, replaced map[string]bool) {
	if r.ScaledJob != nil {
		s := r.ScaledJob.Status
		return s.ExternalMetricNames, s.TriggersActivity, s.Health, nil
	}
	s := r.ScaledObject.Status
	replaced = map[string]bool{}
	for _, verdict := range s.Fallback {
		replaced[verdict.Metric] = true
	}
	return s.ExternalMetricNames, s.TriggersActivity, s.Health, replaced
}

// reading is what an HPA was told.
type reading struct {
	value, target float64
	whole         bool
}

func reported(hpa *autoscalingv2.HorizontalPodAutoscaler) map[string]reading {
	all := map[string]reading{}
	if hpa == nil {
		return all
	}
	for _, m := range hpa.Status.CurrentMetrics {
		if m.External == nil {
			continue
		}
		switch current := m.External.Current; {
		case current.Value != nil && !current.Value.IsZero():
			all[m.External.Metric.Name] = reading{value: current.Value.AsApproximateFloat64(), whole: true}
		case current.AverageValue != nil:
			// The HPA tells an average, of as many replicas as it saw.
			all[m.External.Metric.Name] = reading{value: whole(current.AverageValue, hpa.Status.CurrentReplicas)}
		case current.Value != nil:
			all[m.External.Metric.Name] = reading{whole: true}
		}
	}
	for _, m := range hpa.Spec.Metrics {
		if m.External == nil {
			continue
		}
		if v, ok := all[m.External.Metric.Name]; ok {
			switch target := m.External.Target; {
			case target.AverageValue != nil:
				v.target = target.AverageValue.AsApproximateFloat64()
			case target.Value != nil:
				v.target = target.Value.AsApproximateFloat64()
			}
			all[m.External.Metric.Name] = v
		}
	}
	return all
}

func whole(average *resource.Quantity, replicas int32) float64 {
	return average.AsApproximateFloat64() * float64(max(replicas, 1))
}

// ready adds what conditions complain of.
func (r *report) ready() {
	for _, c := range cures.NotWell(r.conditions) {
		if c.Type == string(v1alpha1.ConditionHPAActive) && r.HPA != nil {
			continue // the HPA itself says it
		}
		r.limit(c.String(), c.Reason)
	}
	if _, ok := r.conditions.Get(v1alpha1.ConditionReady); !ok {
		r.Limits = append(r.Limits, "no controller has taken the object up yet: it has no condition Ready")
	}
}

// limit adds a limit, and what helps where its reason is known.
func (r *report) limit(text, reason string) {
	r.Limits = append(r.Limits, text)
	cure, is := cures.Of(reason)
	if !is {
		return
	}
	if !slices.Contains(r.Cures, cure) {
		r.Cures = append(r.Cures, cure)
	}
	if r.cured == nil {
		r.cured = map[string]string{}
	}
	r.cured[text] = cure.Cure
}

// paused says what a pause means.
func (r *report) paused(count *int32) {
	r.Inputs = nil
	text := "it is paused: nothing is read, and nothing is scaled"
	reason := "no reason is given"
	if r.PauseReason != "" {
		reason = "the reason given: " + r.PauseReason
	}
	switch {
	case r.ScaledJob != nil:
		text = "it is paused: nothing is read, and no Job starts; those that run go on"
	case count != nil:
		text = fmt.Sprintf("it is pinned to %d replicas: nothing is read", *count)
	}
	r.Limits = append([]string{text + "; " + reason}, r.Limits...)
	r.Next = []string{"whoever resumes it"}
	r.Changes = []string{fmt.Sprintf("kubectl sluice resume %s -n %s", r.short(), r.Object.Namespace)}
}

// replicas is the rest of what is said of a ScaledObject.
func (r *report) replicas() {
	so := r.ScaledObject
	now, known := r.count()
	at := "an unknown number of replicas"
	if known {
		at = fmt.Sprintf("%d replicas", now)
	}
	at += " of " + cmp.Or(so.Spec.ScaleTargetRef.Kind, "Deployment") + " " + so.Spec.ScaleTargetRef.Name
	if r.Paused {
		count, _ := so.PausedReplicas() // what cannot be read is in condition Ready
		r.Summary = at + ", paused"
		r.paused(count)
		return
	}
	rests := known && scaling.AtRest(so, now)
	switch {
	case rests:
		if r.Summary = at + ", at rest"; len(r.Inputs) > 0 && !r.active() && r.allRead() {
			r.Summary += ": no trigger asks for any"
		}
	case r.active():
		r.Summary = at + ", at work"
	default:
		r.Summary = at + ", while no trigger is known to be active"
	}
	r.switches(so)
	r.hpa(rests)
	r.next(so, rests)
	r.wouldChange(so, now, rests)
}

// count is how many replicas the target has.
func (r *report) count() (int32, bool) {
	_, pinned := r.annotations[v1alpha1.AnnotationPausedReplicas]
	// Nothing is decided of what is paused, but its number.
	if a := r.Account; a != nil && (a.Last.Write != nil || a.Last.Replicas != nil) && (!r.Paused || pinned) {
		if a.Last.Write != nil {
			return *a.Last.Write, true
		}
		return *a.Last.Replicas, true
	}
	if r.HPA != nil {
		return r.HPA.Status.CurrentReplicas, true
	}
	if r.Replicas != nil {
		return *r.Replicas, true
	}
	return 0, false
}

func (r *report) active() bool {
	return r.conditions.IsTrue(v1alpha1.ConditionActive) || slices.ContainsFunc(r.Inputs, func(in Input) bool { return in.Active })
}

// allRead reports whether every input has a value.
func (r *report) allRead() bool {
	return !slices.ContainsFunc(r.Inputs, func(in Input) bool { return in.Value == nil && !in.Fallback })
}

// switches are annotations that the controller tells of itself.
func (r *report) switches(so *v1alpha1.ScaledObject) {
	if r.Account != nil {
		return
	}
	if so.ForceActivation() {
		r.Limits = append(r.Limits, "activation is forced")
	}
	if so.ScaleInPaused() {
		r.Limits = append(r.Limits, "scaling in is paused")
	}
	if so.ScaleOutPaused() {
		r.Limits = append(r.Limits, "scaling out is paused")
	}
	if c, ok := r.conditions.Get(v1alpha1.ConditionActive); ok && c.Message != "" {
		r.Limits = append(r.Limits, c.Message)
	}
}

// hpa says what the HPA makes of it, whose part is everything above rest.
func (r *report) hpa(rests bool) {
	hpa := r.HPA
	switch {
	case hpa == nil && r.ScaledObject.Status.HpaName != "":
		return // it could not be read, and that is said
	case hpa == nil:
		r.Limits = append(r.Limits, "there is no HPA to scale above rest")
		return
	case rests:
		return // it does nothing then
	}
	r.Limits = append(r.Limits, fmt.Sprintf("HPA %s has %d replicas and wants %d, of %d to %d",
		hpa.Name, hpa.Status.CurrentReplicas, hpa.Status.DesiredReplicas, ptr.Deref(hpa.Spec.MinReplicas, 1), hpa.Spec.MaxReplicas))
	for _, c := range hpa.Status.Conditions {
		limits := c.Status == corev1.ConditionFalse
		switch c.Type {
		case autoscalingv2.ScalingLimited:
			limits = c.Status == corev1.ConditionTrue
		case autoscalingv2.AbleToScale:
			limits = limits || strings.HasSuffix(c.Reason, "Stabilized")
		case autoscalingv2.ScaledToZero: // it says what was done, and limits nothing
			limits = false
		case autoscalingv2.ScalingActive:
		}
		if limits {
			r.limit(fmt.Sprintf("the HPA says %s: %s", c.Reason, c.Message), c.Reason)
		}
	}
}

// jobs is the rest of what is said of a ScaledJob.
func (r *report) jobs() {
	sj := r.ScaledJob
	jobs := sj.Status.Jobs
	if a := r.Account; a != nil && a.Last.Jobs != nil {
		now := *a.Last.Jobs
		now.Running += a.Last.Create
		jobs = &now
	}
	r.Summary = "an unknown number of Jobs runs"
	if jobs != nil {
		r.Summary = fmt.Sprintf("%d Jobs run, of %d at most", jobs.Running, sj.MaxJobs())
	}
	if r.Paused {
		r.Summary += ", paused"
		r.paused(nil)
		return
	}
	if r.Account == nil {
		if jobs != nil {
			r.Result = fmt.Sprintf("the queues have %d and ask for %d Jobs; %d were started for the last reading that asked for any", jobs.QueueLength, jobs.Wanted, jobs.Created)
			if jobs.LimitedBy != "" {
				r.Limits = append(r.Limits, "limited by "+jobs.LimitedBy)
			}
		}
		r.Next = append(r.Next, "the controller, at the next reading")
	} else {
		r.Next = append(r.Next, r.Account.Last.Next)
	}
	r.reads(func(v1alpha1.ScaleTrigger) time.Duration {
		interval, _ := sj.IdlePollingInterval() // a bad annotation is in condition Ready
		return interval
	})
	if jobs != nil && jobs.Running >= sj.MaxJobs() {
		r.Changes = append(r.Changes, fmt.Sprintf("a Job that ends makes room for another, or a larger maxReplicaCount than %d", sj.MaxJobs()))
		return
	}
	r.wakes("starts a Job", "start a Job")
}

func latestFirst(all []Event) {
	slices.SortStableFunc(all, func(a, b Event) int { return b.Time.Compare(a.Time) })
}

func activity(active bool) string {
	if active {
		return "active"
	}
	return "not active"
}

// number is one as a person writes it.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
}

// clock is a moment, in UTC.
func clock(at time.Time) string { return at.UTC().Format("15:04:05 UTC") }
