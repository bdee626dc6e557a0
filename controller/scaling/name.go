package scaling

import (
	"strconv"
	"strings"
)

// CompositeMetric is the name of the metric that a formula computes.
const CompositeMetric = "composite-metric"

// MetricName is the name by which users and the HPA know a metric:
// "s<trigger index>-" and the name that the family gave it. Families normalise
// their own names; those of an external scaler stay as they are.
func MetricName(trigger int, name string) string {
	return "s" + strconv.Itoa(trigger) + "-" + name
}

// SplitMetricName takes a metric's name apart into the trigger's index and the
// name that the family knows. ok is false for a name without prefix.
func SplitMetricName(metric string) (trigger int, name string, ok bool) {
	rest, found := strings.CutPrefix(metric, "s")
	if !found {
		// Names are compared without regard to case.
		rest, found = strings.CutPrefix(metric, "S")
	}
	digits, name, dash := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !found || !dash || err != nil {
		return 0, "", false
	}
	return int(n), name, true
}
