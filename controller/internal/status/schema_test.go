package status

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// kedas is a status as KEDA leaves it behind, with all that ours has no word for
// or is stricter about.
func kedas(s *v1alpha1.ScaledObjectStatus) {
	at := metav1.NewTime(start.Add(-time.Hour))
	s.LastActiveTime = &at
	s.HpaName = "keda-hpa-worker"
	s.ExternalMetricNames = []string{"s0-m"}
	s.Health = map[string]v1alpha1.HealthStatus{
		"s0-m": {NumberOfFailures: ptr.To[int32](2), Status: v1alpha1.HealthFailing}, "s0-gone": {},
	}
	s.Conditions = v1alpha1.Conditions{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue},
		{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse},
		{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue},
	}
}

// The cluster of these tests holds every status against the schema of our CRD,
// as an API server does: whatever was found and decided, none is refused, and
// what is kept is what was written.
func TestNoStatusIsRefused(t *testing.T) {
	long := strings.Repeat("ü", 1<<20)
	loud := v1alpha1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "TriggerError", Message: long + "\xff"}
	on := v1alpha1.Condition{Type: v1alpha1.ConditionFallback, Status: metav1.ConditionTrue}
	for name, tt := range map[string]struct {
		before   func(*v1alpha1.ScaledObjectStatus)
		found    Reconciled
		observed Observed
	}{
		"nothing is known":             {},
		"KEDA's":                       {before: kedas, observed: Observed{Decision: scaling.Decision{Fallback: &on}}},
		"KEDA's, and a family is down": {before: kedas, found: Reconciled{Err: errors.New("Service scaler-kafka not found")}},
		"KEDA's, paused":               {before: kedas, found: Reconciled{Paused: true, HPA: ptr.To(""), PausedReplicas: ptr.To[int32](0)}},
		"empty maps and lists": {observed: Observed{
			Decision: scaling.Decision{Activity: map[string]v1alpha1.TriggerActivity{}, Health: map[string]v1alpha1.HealthStatus{}, Replaced: []v1alpha1.FallbackVerdict{}},
			Changes:  []v1alpha1.Decision{},
		}, found: Reconciled{ExternalMetricNames: []string{}, ResourceMetricNames: []string{}}},
		"long words, and no words": {
			found:    Reconciled{Err: errors.New(long), Warnings: []string{long}, Target: &v1alpha1.GroupVersionKindResource{}},
			observed: Observed{Decision: scaling.Decision{Ready: loud, Active: &loud, Fallback: &loud}, HPAActive: &loud, Unscaled: errors.New("\xff")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, with(newObject(), func(so *v1alpha1.ScaledObject) {
				so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 1}
				if tt.before != nil {
					tt.before(&so.Status)
				}
			}))
			f.reconciled(f.object(), tt.found)
			f.clock.Step(FirstState)
			f.reconciled(f.object(), tt.found)
			if _, err := f.Observed(t.Context(), f.object(), tt.observed); err != nil {
				t.Fatal(err)
			}
			f.cluster.Writes()
			f.clock.Step(time.Hour)
			f.reconciled(f.object(), tt.found)
			if _, err := f.Observed(t.Context(), f.object(), tt.observed); err != nil {
				t.Fatal(err)
			}
			if writes := f.cluster.Writes(); len(writes) > 0 {
				t.Errorf("what was written is not what is kept: written again: %v", writes)
			}
		})
	}
}
