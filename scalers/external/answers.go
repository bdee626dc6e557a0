package main

import (
	"fmt"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// metricsOf are the metrics that a server names.
func metricsOf(answer *externalscaler.GetMetricSpecResponse, anyTarget bool) ([]scaler.Metric, error) {
	named, err := answer.Metrics(anyTarget)
	if err != nil {
		return nil, err
	}
	metrics := make([]scaler.Metric, len(named))
	for i, m := range named {
		metrics[i] = scaler.Metric{Name: m.Name, Target: m.Target}
	}
	return metrics, nil
}

// valueOf is what an answer comes to.
func valueOf(answer *externalscaler.GetMetricsResponse) (float64, error) {
	value, err := answer.Sum()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", scaler.ErrNoData, err)
	}
	return value, nil
}
