package federation

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Detection is how arrival of work is noticed.
type Detection string

// The ways.
const (
	DetectionUnknown  Detection = ""
	DetectionPolling  Detection = "polling"
	DetectionDoorbell Detection = "doorbell"
	DetectionTimer    Detection = "timer"
)

// MetricSpec is one metric of a trigger and its target.
type MetricSpec struct {
	// Name identifies the metric within its trigger, without the autoscaler's
	// "s<index>-" prefix.
	Name string
	// Target is in the metric's own unit, finite; 0 where none was given.
	Target float64
}

// Value is one metric of an observation.
type Value struct {
	// Metric is the name as in MetricSpec.
	Metric string
	// Value is finite and not negative.
	Value float64
	// Active is true when the trigger asks for at least one replica.
	Active bool
}

// State is all that is known of a trigger. It is a copy: the caller may keep
// it, and must not change what its slices hold.
//
// A family that falls silent leaves the last state as it is: how old an answer
// may get is for the reader to judge by HeardAt.
type State struct {
	// Generation is the one that everything else in here belongs to.
	Generation int64
	// Type and Family are the trigger's type and the name of the family that
	// serves it; Family is empty as long as its Service is unknown.
	Type, Family string

	// Unkept is set where nothing is kept of the trigger, as Unreachable says: that
	// is so for any generation.
	Unkept bool

	// Since is when the trigger became what it is now.
	Since time.Time
	// Earlier is set while nothing was read since then, and the outcome below,
	// if any, is of what the trigger was before: only its surroundings changed,
	// such as the environment of the workload. It is good enough to stay where
	// one is, as long as it would be without the change.
	Earlier bool

	// Specs are the trigger's metrics, never empty when HaveSpecs.
	Specs     []MetricSpec
	HaveSpecs bool

	// Outcome is what the last read came to.
	Outcome scaling.Outcome
	// Values has one entry per metric. With scaling.NoData it is what the
	// trigger's rule puts in place of an answer, if anything; with scaling.Failed
	// it is empty.
	Values []Value
	// Err is set when the read counts as a failure: always with scaling.Failed,
	// and with scaling.NoData where the trigger's rule makes that one. Its
	// text is the family's own, its code is status.Code(Err).
	Err error
	// ObservedAt is when that read was completed, on our own clock.
	ObservedAt time.Time
	// Took is how long that read took.
	Took time.Duration
	// HeardAt is when the family last said that this outcome holds: with the
	// observation itself or with a beat. Zero with scaling.Pending.
	HeardAt time.Time
	// Activations counts how often the trigger turned active, a pulse between
	// two observations included. It only grows while the trigger stays
	// subscribed, through new generations and moves to other instances.
	Activations uint64
	// SourceEventTime is when the work arrived by the source's own clock, zero
	// where it does not tell. For tracing only.
	SourceEventTime time.Time
	// Traceparent is the W3C trace context of the read, "" when it was not
	// traced.
	Traceparent string

	// Accepted is true once a family instance took the trigger.
	Accepted bool
	// Detection is how arrival of work is noticed for this trigger.
	Detection Detection
	// DetectedBy is how the last observation came about.
	DetectedBy Detection
	// Note says why the source is polled although a doorbell was wanted, in
	// words for the user.
	Note string
	// ReadDeadline is how long the family gives one read; 0 when it does not
	// say.
	ReadDeadline time.Duration
	// Warnings are unknown or unusable keys, in words for the user.
	Warnings []string

	// Rejected is why the family cannot serve the trigger as it stands; only
	// a new generation can help. Code and text as with Err.
	Rejected error
	// Unreachable is why nobody can be asked: the type cannot be a Service's
	// name, the Service is absent, or it has no ready instance. It names the
	// Service and goes away by itself.
	Unreachable error

	// last are the values of the last read that had any.
	last []Value
}

// Odd is what the user should know of a trigger that works: Warnings and Note.
func (s State) Odd() []string {
	if s.Note == "" {
		return s.Warnings
	}
	return append(slices.Clip(s.Warnings), s.Note)
}

// Active reports whether any metric of the last reading asks for at least one
// replica. It is false without a reading, which is not the same as inactive.
func (s State) Active() bool {
	return slices.ContainsFunc(s.Values, func(v Value) bool { return v.Active })
}

// What is kept of one that is said. Whoever reads it makes something of it, and most
// of that is kept as well: activity and health of a metric, conditions of words.
const (
	costOfMetric  = 200
	costOfReading = 40
	copies        = 3
)

// said is about what is kept of what was said of the trigger, in bytes.
func (s *State) said() (bytes int) {
	for _, spec := range s.Specs {
		bytes += costOfMetric + copies*len(spec.Name)
	}
	for _, value := range s.Values {
		bytes += costOfReading + len(value.Metric)
	}
	if len(s.last) > 0 && (len(s.Values) == 0 || &s.last[0] != &s.Values[0]) {
		for _, value := range s.last {
			bytes += costOfReading + len(value.Metric)
		}
	}
	for _, warning := range s.Warnings {
		bytes += copies * (costOfText + len(warning))
	}
	for _, err := range []error{s.Err, s.Rejected} {
		if err != nil {
			bytes += copies * len(err.Error())
		}
	}
	return bytes + copies*len(s.Note)
}

// shortest is what is left of a text where there is no room for it, in bytes.
const shortest = 100

// shorten leaves of words what there is always room for.
func (s *State) shorten() {
	if len(s.Warnings) > 0 {
		s.Warnings = noRoomForWarnings
	}
	s.Note = shortText(s.Note)
	for _, err := range []*error{&s.Err, &s.Rejected} {
		if *err != nil {
			*err = &codedError{status.Code(*err), shortText((*err).Error())}
		}
	}
}

// noRoomForWarnings is what everybody is warned of whose warnings are not kept.
var noRoomForWarnings = []string{"there is no room for the warnings about it"}

func shortText(text string) string {
	if len(text) <= shortest {
		return text
	}
	return strings.ToValidUTF8(text[:shortest], "") + "..."
}

// silence leaves nothing of what was said but why nothing is left of it.
func (s *State) silence(why error, now time.Time) {
	s.Specs, s.HaveSpecs, s.last, s.Warnings, s.Note = nil, false, nil, nil, ""
	if s.Rejected != nil {
		s.Rejected = why
	}
	s.observe(reading{outcome: scaling.Failed, err: why, at: now, heard: now, detectedBy: s.DetectedBy}, 0)
}
