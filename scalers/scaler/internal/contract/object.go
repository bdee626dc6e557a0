package contract

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
	// MetricType is how targets are meant, and MetricTypeGiven whether the trigger
	// says so itself.
	MetricType      MetricType
	MetricTypeGiven bool
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

// Silent is implemented by params of a ringing type that know better than to
// listen unasked, for example on a metered endpoint.
type Silent interface {
	// Silent returns why the doorbell stays off unless the user turns it on,
	// or "" when it may ring.
	Silent() string
}
