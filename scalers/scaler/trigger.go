package scaler

import (
	"context"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Object is what a trigger may know about the object it belongs to. A params
// struct that embeds it gets it filled in. It is not part of the question
// unless the embedded field is tagged `question:"true"`, or
// `question:"namespace"` for its namespace alone.
type Object struct {
	// Kind is "ScaledObject" or "ScaledJob".
	Kind string
	// Namespace and Name are the object's.
	Namespace, Name string
	// TriggerName is spec.triggers[].name, possibly empty.
	TriggerName string
	// TriggerIndex is the position in spec.triggers.
	TriggerIndex int
	// PollingInterval is the object's, never 0.
	PollingInterval time.Duration
	// MetricType is how targets are meant.
	MetricType MetricType
	// MetricSource is true when the trigger only feeds a formula, and so needs
	// no target of its own.
	MetricSource bool
	// Metadata is the trigger's whole metadata without reserved keys, each
	// "<key>FromEnv" keeping its key and carrying the variable's value, and
	// left out when the variable is absent or blank.
	Metadata map[string]string
}

// MetricType is how a target is meant.
type MetricType string

// Metric types, as in autoscaling/v2.
const (
	// AverageValue is a target per replica.
	AverageValue MetricType = "AverageValue"
	// Value is a target for all replicas together.
	Value MetricType = "Value"
)

// Open opens the source of a trigger. It is called by the sampler at the first
// reading; its failure is that reading's error.
type Open[P Params] func(ctx context.Context, params P) (Source, error)

// Trigger is a trigger type of a family, made by Define.
type Trigger struct {
	// Type is the text of spec.triggers[].type.
	Type string

	// ofObject is set when the answer depends on which object asks.
	ofObject    bool
	bind        func(request, *Credentials) (*binding, error)
	description *scalerv1.TriggerType
}

// Option changes what Define assumes of a trigger type.
type Option func(*traits)

// traits is what a trigger type is like beyond its parameters.
type traits struct {
	noData        NoDataRule
	detection     scalerv1.Detection
	detectionCost string
	passThrough   bool
}

// NoDataRule is what a reading without data becomes.
type NoDataRule string

// The rules, as in the annotation sluice.dev/no-data, which chooses one for all
// triggers of an object.
const (
	// NoDataError makes it a failure. It is the default.
	NoDataError NoDataRule = scalerv1.NoDataError
	// NoDataZero makes it the value 0.
	NoDataZero NoDataRule = scalerv1.NoDataZero
	// NoDataHold keeps the value before it.
	NoDataHold NoDataRule = scalerv1.NoDataHold
)

// OnNoData sets the documented rule of a trigger type.
func OnNoData(rule NoDataRule) Option { return func(t *traits) { t.noData = rule } }

// RingsAt announces that sources of the type are Ringers and what ringing
// costs the backend and which permission it needs, in one line.
func RingsAt(cost string) Option {
	return func(t *traits) {
		t.detection, t.detectionCost = scalerv1.Detection_DETECTION_DOORBELL, cost
	}
}

// Scheduled announces that sources of the type are Timed.
func Scheduled() Option {
	return func(t *traits) { t.detection = scalerv1.Detection_DETECTION_TIMER }
}

// PassesThrough accepts every metadata key, because the source behind it reads
// them from Object.Metadata.
func PassesThrough() Option { return func(t *traits) { t.passThrough = true } }

// Silent is implemented by params of a ringing type that know better than to
// listen unasked, for example on a metered endpoint.
type Silent interface {
	// Silent returns why the doorbell stays off unless the user turns it on,
	// or "" when it may ring.
	Silent() string
}
