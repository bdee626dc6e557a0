package externalscaler

import (
	"errors"
	"fmt"
	"math"
)

// What a server may put on an HPA. Whoever writes a server can say anything,
// and answers of different objects travel on the same streams.
const (
	maxMetrics    = 20
	maxMetricName = 1024 // bytes
	// maxNames is what all names of one trigger may have, in bytes: each of
	// thousands of triggers is remembered with them.
	maxNames = 4 << 10
)

// Metric is one metric that a server names, with its target.
type Metric struct {
	Name string
	// Target is greater than 0, also in thousandths, as the autoscaler is told
	// it. It is 0 where it does not matter and the server gave none.
	Target float64
}

// Metrics are the metrics that a server names. The float wins when it is
// greater than 0; older servers have the integer alone. An answer of which a
// part is wrong is wrong: the rest alone would be another demand.
//
// anyTarget is for triggers that only feed a formula: what is no target then
// becomes 0. A name that comes twice with the same target counts once.
func (x *GetMetricSpecResponse) Metrics(anyTarget bool) ([]Metric, error) {
	specs := x.GetMetricSpecs()
	switch {
	case len(specs) == 0:
		return nil, errors.New("names no metrics")
	case len(specs) > maxMetrics:
		return nil, fmt.Errorf("names %d metrics, more than %d", len(specs), maxMetrics)
	}
	var metrics []Metric
	targets := map[string]float64{}
	bytes := 0
	for _, spec := range specs {
		name := spec.GetMetricName()
		bytes += len(name)
		switch {
		case bytes > maxNames:
			return nil, fmt.Errorf("names metrics by more than %d bytes together", maxNames)
		case name == "":
			return nil, errors.New("a metric has no name")
		case len(name) > maxMetricName:
			return nil, fmt.Errorf("metric %.32s...: the name is longer than %d bytes", name, maxMetricName)
		}
		target, err := spec.target()
		if err != nil && !anyTarget {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		before, known := targets[name]
		if known && before != target {
			return nil, fmt.Errorf("metric %s: has the targets %v and %v", name, before, target)
		}
		if !known {
			targets[name] = target
			metrics = append(metrics, Metric{Name: name, Target: target})
		}
	}
	return metrics, nil
}

// target is what the autoscaler divides by, told to it in thousandths.
func (x *MetricSpec) target() (float64, error) {
	target := x.GetTargetSizeFloat()
	if !(target > 0) {
		target = float64(x.GetTargetSize()) // all that older servers have
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

// Sum adds up the values of an answer, whatever they are called: each is of the
// metric that was asked for, and a negative one is told as 0. A float greater
// than 0 wins over the integer. An error says why the answer has no data: there
// is no value in it, or one that is no number.
func (x *GetMetricsResponse) Sum() (float64, error) {
	if len(x.GetMetricValues()) == 0 {
		return 0, errors.New("the answer is empty")
	}
	sum := 0.0
	for _, v := range x.GetMetricValues() {
		value := v.GetMetricValueFloat()
		if value <= 0 && !math.IsInf(value, 0) {
			value = max(float64(v.GetMetricValue()), 0) // all that older servers have
		}
		sum += value
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return 0, fmt.Errorf("%v is not a finite number", sum)
	}
	return sum, nil
}
