package equivalence

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

const (
	// moments is how long a difference of numbers may last before it is one: the
	// HPA asks every 15 s, and not when we read.
	moments = 30 * time.Second
	// mostPast is how many differences are remembered that are over.
	mostPast = 4
	// MostText is how long a text of an object may be, in bytes.
	MostText = 300
	// thousandth is the step of all numbers that an HPA is told.
	thousandth = 0.001
	// share of a number below which a difference is how it was rounded.
	share = 0.005
)

// Judge compares what the object has of both sides, and brings verdict and
// differences up to date.
func (o *Object) Judge(now time.Time) {
	found := o.compare()
	known := slices.Concat(o.Differences, o.fresh)
	o.Differences, o.fresh = nil, nil
	for _, d := range found {
		d.Since = now
		if i := slices.IndexFunc(known, d.same); i >= 0 {
			d.Since = known[i].Since
			known = slices.Delete(known, i, i+1)
		}
		if now.Sub(d.Since) < o.patience(d.Reason) {
			o.fresh = append(o.fresh, d)
		} else {
			o.Differences = append(o.Differences, d)
		}
	}
	for _, over := range known {
		if now.Sub(over.Since) >= o.patience(over.Reason) {
			over.Until = now
			o.Past = slices.Concat([]Difference{over}, o.Past) // others may have the old one
		}
	}
	o.Past = o.Past[:min(len(o.Past), mostPast)]
	o.Verdict = o.verdict()
}

func (d Difference) same(other Difference) bool {
	return d.Reason == other.Reason && d.What == other.What
}

// patience is how long something may last before it is a difference.
func (o *Object) patience(r Reason) time.Duration {
	switch r {
	case Value, Rounding, Metrics, Target:
		return moments
	case Activity, Replicas, Source:
		return max(time.Duration(o.Patience)*time.Second, moments)
	case MissingGrant, MissingFamily, Refused:
	}
	return 0
}

func (o *Object) verdict() Verdict {
	refused := func(d Difference) bool { return d.Reason == Refused }
	pending := func(t Trigger) bool { return t.Outcome == "pending" }
	switch {
	case slices.ContainsFunc(o.Differences, refused):
		return NotServed
	case len(o.Differences) > 0:
		return Differs
	case !o.Paused && slices.ContainsFunc(o.Triggers, pending), len(o.fresh) > 0, o.Active == "" && !o.Paused:
		return Unknown
	}
	return Agrees
}

// compare is all that is not the same at this moment.
func (o *Object) compare() (all []Difference) {
	add := func(r Reason, what, format string, args ...any) {
		all = append(all, Difference{Reason: r, What: what, Text: Shorten(fmt.Sprintf(format, args...))})
	}
	if o.Problem != "" {
		add(Refused, "", "%s", o.Problem)
		return all
	}
	failing := false
	for _, t := range o.Triggers {
		switch {
		case t.Fault == "":
		case t.Fault == Source && o.TheirReady != "" && o.TheirReady != "True":
			failing = true // there as well
		default:
			failing = true
			add(t.Fault, fmt.Sprintf("trigger %d (%s)", t.Index, t.Type), "%s", t.Error)
		}
	}
	for _, m := range o.Metrics {
		if d, differs := m.compare(); differs {
			all = append(all, d)
		}
	}
	o.compareHPA(failing, add)
	if !failing && opposite(o.Active, o.Theirs) {
		add(Activity, "", "condition Active is %s, and %s by what is read here", o.Theirs, o.Active)
	}
	if o.Would != nil && !failing {
		o.compareReplicas(add)
	}
	return all
}

type adding = func(r Reason, what, format string, args ...any)

func (o *Object) compareReplicas(add adding) {
	now := "an unknown number"
	if o.Replicas != nil {
		now = strconv.Itoa(int(*o.Replicas))
	}
	if o.Kind == "ScaledJob" {
		add(Replicas, "", "%d more Jobs would be started, %s run", *o.Would, now)
		return
	}
	add(Replicas, "", "%d replicas would be written, the target has %s", *o.Would, now)
}

func opposite(a, b string) bool { return a == "True" && b == "False" || a == "False" && b == "True" }

// compareHPA is what of an HPA would be written otherwise.
func (o *Object) compareHPA(failing bool, add adding) {
	if o.HPA == nil || o.Paused {
		return
	}
	if o.HPA.OtherMin != 0 && o.HPA.OtherMin != o.HPA.Min || o.HPA.OtherMax != 0 && o.HPA.OtherMax != o.HPA.Max {
		add(Target, "", "the HPA goes from %d to %d, and would from %d to %d", o.HPA.Min, o.HPA.Max, o.HPA.OtherMin, o.HPA.OtherMax)
	}
	if failing || len(o.Metrics) == 0 {
		return // not all names are known
	}
	for _, m := range o.Metrics {
		i := slices.IndexFunc(o.HPA.Asks, func(a Asked) bool { return a.Name == m.Name })
		switch {
		case i < 0 && m.Target > 0:
			add(Metrics, m.Name, "the HPA does not ask for it")
		case i >= 0 && m.Target > 0 && (math.Abs(o.HPA.Asks[i].Target-m.Target) > thousandth || o.HPA.Asks[i].Kind != m.Kind):
			a := o.HPA.Asks[i]
			add(Target, m.Name, "the HPA's target is %s (%s), and would be %s (%s)", number(a.Target), a.Kind, number(m.Target), m.Kind)
		}
	}
	for _, a := range o.HPA.Asks {
		if !slices.ContainsFunc(o.Metrics, func(m Metric) bool { return m.Name == a.Name }) {
			add(Metrics, a.Name, "the HPA asks for it, and would not")
		}
	}
}

// compare holds what the HPA was told against all that was read in the last
// minutes: the two did not ask at the same moment.
func (m Metric) compare() (d Difference, differs bool) {
	if m.Theirs == nil || m.Lowest == nil || m.Highest == nil {
		return d, false
	}
	most, least := m.Theirs.Value, m.Theirs.Value-m.Theirs.Slack
	gap := max(least-*m.Highest, *m.Lowest-most)
	if gap <= thousandth {
		return d, false
	}
	d = Difference{Reason: Value, What: m.Name, Text: Shorten(fmt.Sprintf("the HPA was told %s, read here is %s", number(most), m.span()))}
	whole := math.Floor(most) >= least // some whole number may have been meant
	if whole && gap < 1 || gap <= share*max(math.Abs(most), math.Abs(*m.Highest)) {
		d.Reason = Rounding
	}
	return d, true
}

// span is what was read in the last minutes.
func (m Metric) span() string {
	if *m.Lowest == *m.Highest {
		return number(*m.Lowest)
	}
	return number(*m.Lowest) + " to " + number(*m.Highest)
}

func number(v float64) string {
	return strconv.FormatFloat(math.Round(v/thousandth)*thousandth, 'f', -1, 32)
}

// Shorten cuts a text to what is kept of it.
func Shorten(text string) string {
	if len(text) <= MostText {
		return text
	}
	cut := MostText - len("...")
	for cut > 0 && text[cut]&0xC0 == 0x80 { // within a character
		cut--
	}
	return text[:cut] + "..."
}
