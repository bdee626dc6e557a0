package provider

import (
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// active is what the status says of the object's triggers.
func active(status metav1.ConditionStatus, reason string) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Status.Conditions.Set(v1alpha1.Condition{Type: v1alpha1.ConditionActive, Status: status, Reason: reason})
	}
}

// foundAt has the HPA say of its target what the HPA controller says, as the cache
// of the adapter has it.
func (f *fixture) foundAt(t *testing.T, conditions ...autoscalingv2.HorizontalPodAutoscalerCondition) {
	t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := f.Objects.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "keda-hpa-worker"}, hpa); err != nil {
		t.Fatal(err)
	}
	stripped := hpa.DeepCopy()
	stripped.Status.Conditions = conditions
	if _, err := StripHPA(kept.New(1<<20, 1<<20))(stripped); err != nil {
		t.Fatal(err)
	}
	hpa.Status = stripped.Status
	cluster := f.Cluster.(client.Client)
	if err := cluster.Update(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
}

var (
	atZero = []autoscalingv2.HorizontalPodAutoscalerCondition{
		{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "SucceededGetScale"},
		{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "ScalingDisabled", Message: "scaling is disabled since the replica count of the target is zero"},
	}
	aboveZero = []autoscalingv2.HorizontalPodAutoscalerCondition{
		{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue, Reason: "ValidMetricFound"},
	}
)

// TestARiseThatTheStatusWasNotToldOf has the HPA controller look at an object
// between the write of its replicas and the one of its status, when its pods have
// already taken what they were started for.
func TestARiseThatTheStatusWasNotToldOf(t *testing.T) {
	type changes = []func(*v1alpha1.ScaledObject)
	resting := active(metav1.ConditionFalse, v1alpha1.ReasonScalerNotActive)
	little, much := map[string]float64{"0 a": 7, "1 b": 2.5}, map[string]float64{"0 a": 700, "1 b": 2.5}
	for name, tt := range map[string]struct {
		object changes
		values map[string]float64
		hpa    []autoscalingv2.HorizontalPodAutoscalerCondition
		scaled int64
		unread bool
		metric string
		want   string
	}{
		"it is held":                          {object: changes{resting}, values: little, hpa: atZero, scaled: 10, want: "s0-a 50"},
		"it may go on":                        {object: changes{resting}, values: much, hpa: atZero, scaled: 10, want: "s0-a 700"},
		"as far as policies let it":           {object: changes{resting, atMost(4)}, values: much, hpa: atZero, scaled: 4, want: "s0-a 20"},
		"after the record of an earlier rise": {object: changes{resting, activated("s0-a", 44*time.Second)}, values: little, hpa: atZero, scaled: 3, want: "s0-a 15"},
		"not by a number of replicas":         {object: changes{resting, valueTargets}, values: little, hpa: atZero, scaled: 10, want: "s0-a 7"},
		"nor by that of a formula":            {object: changes{resting, formula("a + b", "")}, values: little, hpa: atZero, scaled: 10, metric: "composite-metric", want: "composite-metric 9.5"},
		"in fallback": {
			object: changes{resting, verdict("s0-a", ptr.To[int32](6))}, hpa: atZero, scaled: 10, want: "s0-a 30",
		},
		"how far is not known":   {object: changes{resting}, values: little, hpa: atZero, unread: true},
		"it is down again":       {object: changes{resting}, values: little, hpa: atZero, want: "s0-a 7"},
		"the HPA looked since":   {object: changes{resting}, values: little, hpa: aboveZero, scaled: 10, want: "s0-a 7"},
		"an HPA that is new":     {object: changes{resting}, values: little, scaled: 10, want: "s0-a 7"},
		"the status was told":    {object: changes{active(metav1.ConditionTrue, v1alpha1.ReasonScalerActive)}, values: little, hpa: atZero, scaled: 10, want: "s0-a 7"},
		"a cooldown":             {object: changes{active(metav1.ConditionFalse, v1alpha1.ReasonScalerCooldown)}, values: little, hpa: atZero, scaled: 10, want: "s0-a 7"},
		"told, and the HPA late": {object: changes{active(metav1.ConditionTrue, v1alpha1.ReasonScalerActive), activated("s0-a", 0)}, values: little, hpa: atZero, scaled: 3, want: "s0-a 50"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.values, tt.object...)
			f.foundAt(t, tt.hpa...)
			f.scaled.Store(tt.scaled)
			f.unread.Store(tt.unread)
			metric := tt.metric
			if metric == "" {
				metric = "s0-a"
			}
			got, err := f.ask(t.Context(), selector, metric)
			if tt.want == "" {
				if err == nil || !strings.Contains(err.Error(), "just left zero, and how far is not known: forbidden") {
					t.Errorf("%s, %v", got, err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// TestAnswersReadNoScaleOtherwise counts what answers cost the API server.
func TestAnswersReadNoScaleOtherwise(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ScaledObject){
		"at work":    active(metav1.ConditionTrue, v1alpha1.ReasonScalerActive),
		"a cooldown": active(metav1.ConditionFalse, v1alpha1.ReasonScalerCooldown),
		"held":       active(metav1.ConditionFalse, v1alpha1.ReasonScalerNotActive),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, map[string]float64{"0 a": 7}, change)
			f.foundAt(t, aboveZero...)
			f.unread.Store(true) // whoever reads it, fails
			if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 7" {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}
