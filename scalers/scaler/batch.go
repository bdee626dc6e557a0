package scaler

import (
	"context"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
)

// ReadTogether reads sources as one batch and returns one Result for each, in
// order, when all are answered. Those that are not have the batch's error.
func ReadTogether(ctx context.Context, b Batch, sources ...Source) []Result {
	return sampling.ReadTogether(ctx, b, sources...)
}

// Member is embedded by a source that is read by itself as a batch of one. Join
// makes it one of its batch.
type Member = sampling.Member

// Join makes a source, which embeds Member, one of a batch, usually the shared
// connection.
func Join[S sampling.Joining](b Batch, source S) S { return sampling.Join(b, source) }

// Opening returns a ctx in which an Open may be called outside of a family, as
// tests of a source do, and the function that releases what it took.
func Opening(ctx context.Context) (context.Context, func()) { return pool.Opening(ctx) }
