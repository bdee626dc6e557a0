package sampling

import (
	"context"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// Query is what the sampler is asked to read: a binding as far as it matters to
// everybody who asks the same.
type Query struct {
	// ID is equal for queries that share a Source.
	ID      string
	Type    string
	Hosts   []string      // that open may dial; nil for any
	Metrics int           // how many readings a read has; 0 where the source says so
	Timeout time.Duration // of the user's own for one read, or 0
	Open    func(context.Context) (contract.Source, error)
}
