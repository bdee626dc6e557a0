package contract

import "strings"

// metricNameChars are replaced in metric names, one for one, as KEDA does.
// Everything else survives.
var metricNameChars = strings.NewReplacer("/", "-", ".", "-", ":", "-", "%", "-", "(", "-", ")", "-")

// MetricName joins prefix and parts with "-" and replaces each of / . : % ( )
// by "-": what KEDA calls a normalised metric name.
func MetricName(prefix string, parts ...string) string {
	return metricNameChars.Replace(strings.Join(append([]string{prefix}, parts...), "-"))
}
