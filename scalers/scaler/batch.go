package scaler

import (
	"context"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
)

// ReadTogether reads sources as one batch and returns one Result for each, in
// order, when all are answered. Those that are not have the batch's error.
func ReadTogether(ctx context.Context, b Batch, sources ...Source) []Result {
	return sampling.ReadTogether(ctx, b, sources...)
}

// ForMembers is the context of a request that a ReadBatch makes for some of its
// members alone: what it takes of budgets and of memory is counted for those
// namespaces that use them, so that nobody's requests are refused for those of
// others. Where requests for parts of those follow, their places are among these.
func ForMembers(ctx context.Context, places ...int) context.Context {
	return budget.OfSome(ctx, places...)
}

// InTurns orders the requests that a ReadBatch makes one after another, or some at a
// time, such that the namespaces of those that each is for take turns. Of one
// namespace the order stays what it is.
func InTurns[R any](ctx context.Context, requests []R, places func(R) []int) {
	budget.InTurns(ctx, requests, places)
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
