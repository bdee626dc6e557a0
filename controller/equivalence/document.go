// Package equivalence is what a controller in shadow tells of the objects that
// somebody else scales: what it reads, what it would do, and what the other did.
// It judges whether both come to the same, and writes that down for people.
//
// The controller serves a Document as JSON, at Path of its metrics port, for
// kubectl port-forward alone; Fetch reads it, page by page, and Print prints it.
package equivalence

import "time"

// Path is where a controller serves its Document. With the parameter namespace
// it is that of one namespace, with after what follows on the object that
// Document.Continue names.
const Path = "/shadow"

// Mode is what a controller does.
type Mode string

// The modes.
const (
	// Shadow: it decides and writes nothing, since somebody else leads or it was
	// started with --shadow.
	Shadow Mode = "shadow"
	// Acting: it leads, and there is nothing to compare with.
	Acting Mode = "acting"
	// Standby: another controller of the installation leads.
	Standby Mode = "standby"
)

// Document is what a controller in shadow tells.
type Document struct {
	Mode Mode `json:"mode"`
	// Leader is who scales meanwhile, "" where nobody is known to.
	Leader string `json:"leader,omitempty"`
	// Since is when the shadow began, Time when it looked last.
	Since time.Time `json:"since,omitzero"`
	Time  time.Time `json:"time,omitzero"`
	// Objects in the order of kind, namespace and name.
	Objects []Object `json:"objects,omitempty"`
	// Untold is how many objects there was no room for.
	Untold int `json:"untold,omitempty"`
	// Continue is where the next page begins, "" on the last one.
	Continue string `json:"continue,omitempty"`
}

// Verdict is what became of the comparison.
type Verdict string

// The verdicts.
const (
	// Agrees: both read the same and do the same.
	Agrees Verdict = "agrees"
	// Differs: not so; the differences say why.
	Differs Verdict = "differs"
	// NotServed: Sluice cannot serve the object as it stands.
	NotServed Verdict = "cannot be served"
	// Unknown: not all has been read yet.
	Unknown Verdict = "not known yet"
)

// Reason is the kind of a difference.
type Reason string

// The reasons.
const (
	// Value: the HPA was told another number than what is read here.
	Value Reason = "value"
	// Rounding: the same number, rounded in another way.
	Rounding Reason = "rounding"
	// MissingGrant: the family may not read what the trigger refers to.
	MissingGrant Reason = "missing grant"
	// MissingFamily: no Service serves the type, or no instance is behind it.
	MissingFamily Reason = "missing family"
	// Source: the source cannot be read from here, and KEDA does not complain.
	Source Reason = "source"
	// Metrics: the HPA asks for other metrics than it would.
	Metrics Reason = "metrics"
	// Target: the HPA has another target, or other limits.
	Target Reason = "target"
	// Activity: one says that there is work, the other that there is none.
	Activity Reason = "activity"
	// Replicas: the target, or the Jobs, are not what they would be.
	Replicas Reason = "replicas"
	// Refused: the object or a trigger is wrong as it stands.
	Refused Reason = "refused"
)

// Difference is one thing that is not the same.
type Difference struct {
	Reason Reason `json:"reason"`
	// What differs: a metric, a trigger, "" for the object.
	What string `json:"what,omitempty"`
	Text string `json:"text"`
	// Since is when it was first seen.
	Since time.Time `json:"since"`
	// Until is when it was over, zero while it lasts.
	Until time.Time `json:"until,omitzero"`
}

// Object is one ScaledObject or ScaledJob.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`

	Verdict Verdict `json:"verdict"`
	// Differences that last. Those which may be a matter of moments are not
	// among them yet.
	Differences []Difference `json:"differences,omitempty"`
	// Past are the last differences that are over, the latest first.
	Past []Difference `json:"past,omitempty"`

	// Problem is why the object cannot be served, whatever its triggers read.
	Problem string `json:"problem,omitempty"`
	// Paused: somebody paused it, and nothing is read.
	Paused   bool      `json:"paused,omitempty"`
	Triggers []Trigger `json:"triggers,omitempty"`
	Metrics  []Metric  `json:"metrics,omitempty"`
	// HPA is what the object's HPA says, nil without one.
	HPA *HPA `json:"hpa,omitempty"`

	// Replicas is what the target's spec has, or how many Jobs run; nil when that
	// is not known.
	Replicas *int32 `json:"replicas,omitempty"`
	// Would is what would be written now, or how many Jobs be started; nil for
	// nothing.
	Would *int32 `json:"would,omitempty"`
	// Wants is what the metrics ask for within the object's limits, as far as
	// that can be told without the HPA.
	Wants *int32 `json:"wants,omitempty"`
	// Active is whether there is work: True, False, Unknown, or "" before that is
	// known. Theirs is condition Active as the other wrote it.
	Active string `json:"active,omitempty"`
	Theirs string `json:"theirs,omitempty"`
	// TheirReady is condition Ready as the other wrote it.
	TheirReady string `json:"theirReady,omitempty"`
	// Acts are the last changes of who has replicas at all, the latest first.
	Acts []Act `json:"acts,omitempty"`
	// Decision is how the decision came about, in words.
	Decision string `json:"decision,omitempty"`
	// Patience is how long the other may take to do the same, in seconds.
	Patience int32 `json:"patience"`

	// fresh are differences that may be a matter of moments.
	fresh []Difference
}

// Trigger is one of spec.triggers.
type Trigger struct {
	Index int    `json:"index"`
	Type  string `json:"type"`
	// Outcome is value, no data, error or pending.
	Outcome string `json:"outcome"`
	// Fault is MissingGrant, MissingFamily, Source or Refused with outcome error.
	Fault Reason `json:"fault,omitempty"`
	Error string `json:"error,omitempty"`
}

// Metric is one external metric.
type Metric struct {
	Name string `json:"name"`
	// Value is what was read last, nil without a reading; Lowest and Highest are
	// those of the last minutes.
	Value   *float64 `json:"value,omitempty"`
	Lowest  *float64 `json:"lowest,omitempty"`
	Highest *float64 `json:"highest,omitempty"`
	Target  float64  `json:"target"`
	// Kind of the target: AverageValue or Value.
	Kind   string `json:"kind,omitempty"`
	Active bool   `json:"active"`
	// Theirs is what the HPA was told, nil while it says nothing of it.
	Theirs *Reported `json:"theirs,omitempty"`
}

// Reported is a metric in an HPA.
type Reported struct {
	// Value is the whole of it, of an average times the replicas. It was rounded
	// up by as much as Slack.
	Value float64 `json:"value"`
	Slack float64 `json:"slack,omitempty"`
}

// HPA is what an HPA says.
type HPA struct {
	Min     int32 `json:"min"`
	Max     int32 `json:"max"`
	Current int32 `json:"current"`
	Desired int32 `json:"desired"`
	// OtherMin and OtherMax are what the object asks for where that is not the
	// same.
	OtherMin int32 `json:"otherMin,omitempty"`
	OtherMax int32 `json:"otherMax,omitempty"`
	// Asks are the external metrics of its spec.
	Asks []Asked `json:"asks,omitempty"`
}

// Asked is an external metric in an HPA's spec.
type Asked struct {
	Name   string  `json:"name"`
	Target float64 `json:"target"`
	Kind   string  `json:"kind"`
}

// Act is a change between rest and work, as it would have been and as it was.
type Act struct {
	Time time.Time `json:"time"`
	From int32     `json:"from"`
	// Would is what would have been written then, nil for nothing.
	Would *int32 `json:"would,omitempty"`
	// Did is what the other wrote, nil for nothing yet, and After when.
	Did   *int32    `json:"did,omitempty"`
	After time.Time `json:"after,omitzero"`
}
