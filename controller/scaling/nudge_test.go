package scaling

import (
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// TestANudgeMeansNothing changes what is ours of an HPA's metrics, nothing else,
// and nothing of what it is given.
func TestANudgeMeansNothing(t *testing.T) {
	so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}
	others := []autoscalingv2.MetricSpec{
		{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu"}},
		{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{}},
		{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"of": "others"}}},
		}},
	}
	before := append(others[:3:3], External(so, "s0-m", 5, autoscalingv2.AverageValueMetricType))
	kept := (&autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: before}).DeepCopy().Metrics
	value := NudgeOf(time.UnixMilli(1_700_000_000_123))
	after, ok := Nudge(before, value)
	if !ok || Nudged(after) != value || Nudged(before) != "" || !apiequality.Semantic.DeepEqual(before, kept) {
		t.Errorf("nudged %v: %q, and before %q", ok, Nudged(after), Nudged(before))
	}
	if !apiequality.Semantic.DeepEqual(after[:3], others) {
		t.Errorf("changed %+v", after[:3])
	}
	if plain := WithoutNudge(after); !apiequality.Semantic.DeepEqual(plain, before) || Nudged(after) != value {
		t.Errorf("without the nudge %+v", plain)
	}
	if _, ok := Nudge(others, value); ok {
		t.Error("metrics of others were nudged")
	}
}

func TestTheNudgeTellsWhenItsReadingWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 1<<53).Draw(t, "ms"))
		text := NudgeOf(at)
		if read, ok := NudgedBy(text); !ok || !read.Equal(at) || len(validation.IsValidLabelValue(text)) > 0 {
			t.Fatalf("%q tells of %v, %v", text, read, ok)
		}
	})
	for _, text := range []string{"", "x", "-1", "+1", "01", "1.5", "99999999999999999999"} {
		if read, ok := NudgedBy(text); ok {
			t.Errorf("%q tells of %v", text, read)
		}
	}
}
