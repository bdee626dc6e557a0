package scaler

import (
	"context"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// query is what the sampler is asked to read: a binding as far as it matters to
// everybody who asks the same.
type query struct {
	// id is equal for queries that share a Source.
	id          string
	triggerType string
	hosts       []string      // that open may dial; nil for any
	metrics     int           // how many readings a read has; 0 where the source says so
	timeout     time.Duration // of the user's own for one read, or 0
	open        func(context.Context) (contract.Source, error)
}
