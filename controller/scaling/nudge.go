package scaling

import (
	"strconv"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// NudgeOf is the value of LabelNudge for a reading: when it was made, in
// milliseconds since 1970.
func NudgeOf(read time.Time) string { return strconv.FormatInt(read.UnixMilli(), 10) }

// NudgedBy is when the reading was made that a value of LabelNudge tells of. It is
// false for what NudgeOf does not make.
func NudgedBy(value string) (time.Time, bool) {
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms < 0 || strconv.FormatInt(ms, 10) != value {
		return time.Time{}, false
	}
	return time.UnixMilli(ms), true
}

// Nudge changes what means nothing of the metrics of an HPA that the adapter
// answers for, so that its controller looks at them. It reports whether there are
// any, and leaves the ones it is given as they are.
func Nudge(metrics []autoscalingv2.MetricSpec, value string) (changed []autoscalingv2.MetricSpec, ok bool) {
	changed = make([]autoscalingv2.MetricSpec, len(metrics))
	for i := range metrics {
		changed[i] = metrics[i]
		if ours(&metrics[i]) {
			ok = true
			changed[i] = *metrics[i].DeepCopy()
			changed[i].External.Metric.Selector.MatchLabels[v1alpha1.LabelNudge] = value
		}
	}
	return changed, ok
}

// Nudged is the value of LabelNudge that the metrics of an HPA have, "" for none.
func Nudged(metrics []autoscalingv2.MetricSpec) string {
	for i := range metrics {
		if ours(&metrics[i]) {
			if value := metrics[i].External.Metric.Selector.MatchLabels[v1alpha1.LabelNudge]; value != "" {
				return value
			}
		}
	}
	return ""
}

// WithoutNudge are metrics as if nobody had ever made their HPA look. It leaves the
// ones it is given as they are.
func WithoutNudge(metrics []autoscalingv2.MetricSpec) []autoscalingv2.MetricSpec {
	if Nudged(metrics) == "" {
		return metrics
	}
	plain := make([]autoscalingv2.MetricSpec, len(metrics))
	for i := range metrics {
		plain[i] = metrics[i]
		if ours(&metrics[i]) {
			plain[i] = *metrics[i].DeepCopy()
			delete(plain[i].External.Metric.Selector.MatchLabels, v1alpha1.LabelNudge)
		}
	}
	return plain
}

// ours reports whether the adapter answers for a metric.
func ours(m *autoscalingv2.MetricSpec) bool {
	if m.External == nil || m.External.Metric.Selector == nil {
		return false
	}
	_, named := m.External.Metric.Selector.MatchLabels[v1alpha1.LabelScaledObjectName]
	return named
}
