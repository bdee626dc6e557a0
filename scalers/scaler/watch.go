package scaler

import (
	"context"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// watchService serves what the older contract lacks.
type watchService struct {
	scalerv1.UnimplementedScalerServiceServer
	core *core
}

// Describe says what the family serves.
func (w *watchService) Describe(context.Context, *scalerv1.DescribeRequest) (*scalerv1.DescribeResponse, error) {
	return describeFamily(w.core.Family, w.core.Version, w.core.Triggers), nil
}
