// Package coldstart says how long work waited that arrived while there was no
// replica. That none was measured, that nobody tells and that nobody can measure it
// are three things, and none of them is 0.
package coldstart

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Outcome is what is known.
type Outcome string

// The outcomes.
const (
	// Measured: there is a last one.
	Measured Outcome = "measured"
	// NoneYet: a controller tells, and it has measured none.
	NoneYet Outcome = "none measured yet"
	// NotMeasured: of such a target nobody can measure it.
	NotMeasured Outcome = "not measured"
	// Unknown: nobody tells.
	Unknown Outcome = "not known"
)

// Last is the last cold start of a ScaledObject.
type Last struct {
	Outcome Outcome `json:"outcome"`
	// Seconds are those from the arrival of work to the first ready replica, absent
	// where none is measured.
	Seconds *float64 `json:"seconds,omitempty"`
	// Arrived is when the work did, by its source's own clock where BySource says so
	// and else when it was read; Written when replicas were, Ready when the first one
	// was ready.
	Arrived  time.Time `json:"arrived,omitzero"`
	BySource bool      `json:"bySource,omitempty"`
	Written  time.Time `json:"written,omitzero"`
	Ready    time.Time `json:"ready,omitzero"`
	// Why is why there is none.
	Why string `json:"why,omitempty"`
}

// Of is that of an object of which nobody has told yet.
func Of(so *v1alpha1.ScaledObject) Last {
	target := so.Spec.ScaleTargetRef
	switch kind := cmp.Or(target.Kind, "Deployment"); {
	case kind != "Deployment" && kind != "StatefulSet" || target.APIVersion != "" && !strings.HasPrefix(target.APIVersion, "apps/"):
		return Last{Outcome: NotMeasured, Why: "how many Pods of a " + kind + " are ready is not known"}
	case rest(so) > 0:
		return Last{Outcome: Unknown, Why: fmt.Sprintf("it rests at %d, and not at 0", rest(so))}
	}
	return Last{Outcome: Unknown}
}

// rest is how many replicas there are without work.
func rest(so *v1alpha1.ScaledObject) int32 {
	if idle := so.Spec.IdleReplicaCount; idle != nil {
		return *idle
	}
	return so.MinReplicas()
}

// With is what is known once a controller tells; cold is nil where it has measured
// none.
func (l Last) With(cold *account.ColdStart) Last {
	switch {
	case cold != nil:
		seconds := cold.Seconds
		return Last{Outcome: Measured, Seconds: &seconds, Arrived: cold.Arrived, BySource: cold.Told, Written: cold.Written, Ready: cold.Ready}
	case l.Outcome == Unknown:
		l.Outcome = NoneYet
	}
	return l
}

// Short is what a table has room for.
func (l Last) Short() string {
	switch l.Outcome {
	case Measured:
		return span(time.Duration(*l.Seconds * float64(time.Second)))
	case NoneYet:
		if l.Why != "" {
			return "none"
		}
		return "none yet"
	case NotMeasured, Unknown:
	}
	return "-"
}

// Words are what is known, as a person reads it aloud; "" where nobody tells.
func (l Last) Words() string {
	switch l.Outcome {
	case Measured:
		from := "as its source says"
		if !l.BySource {
			from = "as far as is known: that is when it was read"
		}
		return fmt.Sprintf("%s from work to the first ready replica, at %s: work came at %s, %s; replicas were written %s later, and the first was ready %s after that",
			l.Short(), clock(l.Ready), clock(l.Arrived), from, span(l.Written.Sub(l.Arrived)), span(l.Ready.Sub(l.Written)))
	case NoneYet:
		if l.Why != "" {
			return "none measured: " + l.Why
		}
		return "none measured yet since this controller leads"
	case NotMeasured:
		return "not measured: " + l.Why
	case Unknown:
	}
	return ""
}

// span is a time as a person says it: parts of seconds where there are few.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05 UTC") }
