package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// What a server may put on an HPA. Whoever writes a server can say anything,
// and answers of different objects travel on the same streams.
const (
	maxMetrics    = 100
	maxMetricName = 1024 // bytes
)

// metricsOf are the metrics that a server names, with their targets. The
// float wins when it is greater than 0; older servers have the integer alone.
//
// anyTarget is for triggers that only feed a formula: what is no target then
// becomes 0. A name that comes twice with the same target counts once.
func metricsOf(answer *externalscaler.GetMetricSpecResponse, anyTarget bool) ([]scaler.Metric, error) {
	specs := answer.GetMetricSpecs()
	switch {
	case len(specs) == 0:
		return nil, errors.New("names no metrics")
	case len(specs) > maxMetrics:
		return nil, fmt.Errorf("names %d metrics, more than %d", len(specs), maxMetrics)
	}
	var metrics []scaler.Metric
	targets := map[string]float64{}
	for _, spec := range specs {
		name := spec.GetMetricName()
		if len(name) > maxMetricName {
			return nil, fmt.Errorf("metric %.32s...: the name is longer than %d bytes", name, maxMetricName)
		}
		target, err := targetOf(spec)
		if err != nil && !anyTarget {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		before, known := targets[name]
		if known && before != target {
			return nil, fmt.Errorf("metric %s: has the targets %v and %v", name, before, target)
		}
		if !known {
			targets[name] = target
			metrics = append(metrics, scaler.Metric{Name: name, Target: target})
		}
	}
	return metrics, nil
}

// targetOf is what the autoscaler divides by, told to it in thousandths.
func targetOf(spec *externalscaler.MetricSpec) (float64, error) {
	target := spec.GetTargetSizeFloat()
	if !(target > 0) {
		target = float64(spec.GetTargetSize()) //nolint:staticcheck // all that older servers have
	}
	switch {
	case math.IsInf(target, 0):
		return 0, fmt.Errorf("target %v is not a finite number", target)
	case target <= 0:
		return 0, fmt.Errorf("target %v is not greater than 0", target)
	case math.Round(target*1000) == 0:
		return 0, fmt.Errorf("target %v is 0 when rounded to thousandths", target)
	}
	return target, nil
}

// valueOf adds up the values of an answer, whatever they are called: each is
// of the metric that was asked for. A float greater than 0 wins over the
// integer. An answer without values has no data, and so has a number that is
// none.
func valueOf(answer *externalscaler.GetMetricsResponse) (float64, error) {
	if len(answer.GetMetricValues()) == 0 {
		return 0, fmt.Errorf("%w: the answer is empty", scaler.ErrNoData)
	}
	sum := 0.0
	for _, v := range answer.GetMetricValues() {
		value := v.GetMetricValueFloat()
		if value <= 0 && !math.IsInf(value, 0) {
			value = float64(v.GetMetricValue()) //nolint:staticcheck // all that older servers have
		}
		sum += value
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return 0, fmt.Errorf("%w: %v is not a finite number", scaler.ErrNoData, sum)
	}
	return sum, nil
}
