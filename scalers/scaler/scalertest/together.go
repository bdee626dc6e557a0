package scalertest

import (
	"context"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
)

// ReadTogetherFor is scaler.ReadTogether for sources that are each a namespace's.
func ReadTogetherFor(ctx context.Context, namespaces []string, b scaler.Batch, sources ...scaler.Source) []scaler.Result {
	return sampling.ReadTogetherFor(ctx, namespaces, b, sources...)
}
