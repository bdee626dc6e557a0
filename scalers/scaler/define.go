package scaler

import (
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// Trigger is a trigger type of a family, made by Define.
type Trigger = trigger.Trigger

// Option changes what Define assumes of a trigger type.
type Option = trigger.Option

// Define makes a trigger type out of a params struct and the function that
// opens its source. The params' tags are described at package params; one that
// makes no sense panics, as a mistake of the family and not of its users.
func Define[P Params](triggerType string, open Open[P], options ...Option) Trigger {
	return trigger.Define(triggerType, open, options...)
}

// OnNoData sets the documented rule of a trigger type.
func OnNoData(rule NoDataRule) Option { return trigger.OnNoData(rule) }

// RingsAt announces that sources of the type are Ringers and what ringing
// costs the backend and which permission it needs, in one line.
func RingsAt(cost string) Option { return trigger.RingsAt(cost) }

// Scheduled announces that sources of the type are Timed.
func Scheduled() Option { return trigger.Scheduled() }

// PassesThrough accepts every metadata key, because the source behind it reads
// them from Object.Metadata.
func PassesThrough() Option { return trigger.PassesThrough() }

// MetricName joins prefix and parts with "-" and replaces each of / . : % ( )
// by "-": what KEDA calls a normalised metric name.
func MetricName(prefix string, parts ...string) string { return contract.MetricName(prefix, parts...) }
