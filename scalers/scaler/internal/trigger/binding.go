package trigger

import (
	"context"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// Binding is a trigger of one object after its parameters were understood.
type Binding struct {
	// Object is whose trigger it is.
	Object contract.Object
	// Metrics are the trigger's, from its metadata alone; nil for a Specced, and
	// while their names are not known.
	Metrics []contract.Metric
	// Question is equal for triggers that may share a Source. It is empty as
	// long as credentials are needed to know it.
	Question string
	// Open opens the source.
	Open func(context.Context) (contract.Source, error)
	// Hosts are those that open may dial; nil for any.
	Hosts []string
	// Shape makes the object's readings out of the source's; never nil.
	Shape func(raw []contract.Reading) []contract.Reading
	// Timeout is of the user's own for one read, or 0.
	Timeout time.Duration
	// NoData is what a reading without data becomes.
	NoData contract.NoDataRule
	// Silent is why the doorbell stays off unasked, or "".
	Silent string
	// Warnings are unknown and deprecated keys, in words for the user.
	Warnings []string
}
