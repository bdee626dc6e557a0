package v1alpha1

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whatever of metadata is large, nothing of it is kept but what tells what is to
// become of the object, which says so.
func TestLargeMetadataAreNotKept(t *testing.T) {
	numbered := func(n int) map[string]string {
		m := map[string]string{LabelScaledObjectName: "worker", AnnotationPaused: "true"}
		for i := range n {
			m[fmt.Sprintf("example.org/%d", i)] = "x"
		}
		return m
	}
	for name, grow := range map[string]func(*metav1.ObjectMeta){
		"labels":      func(m *metav1.ObjectMeta) { m.Labels = numbered(5000) },
		"annotations": func(m *metav1.ObjectMeta) { m.Annotations = numbered(mostAnnotations) },
		"owners":      func(m *metav1.ObjectMeta) { m.OwnerReferences = make([]metav1.OwnerReference, 5000) },
		"finalizers": func(m *metav1.ObjectMeta) {
			m.Finalizers = append(slices.Repeat([]string{"example.org/" + strings.Repeat("x", 63)}, 2000), Finalizer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			small := metav1.ObjectMeta{Name: "worker", Labels: numbered(10), Annotations: numbered(10), Finalizers: []string{Finalizer, "example.org/other"}}
			so := &ScaledObject{ObjectMeta: small, Spec: ScaledObjectSpec{ScaleTargetRef: ScaleTarget{Name: "worker"}, Triggers: []ScaleTrigger{{Type: "kafka"}}}}
			if DefaultLimits.CutScaledObject(so); so.Validate() != nil || len(so.Labels) != 12 || len(so.Finalizers) != 2 {
				t.Fatalf("a usual object is cut: %v", so.Validate())
			}
			grow(&so.ObjectMeta)
			sj := &ScaledJob{ObjectMeta: *so.ObjectMeta.DeepCopy()}
			login := &TriggerAuthentication{ObjectMeta: *so.ObjectMeta.DeepCopy(), Spec: TriggerAuthenticationSpec{Env: []EnvParameter{{Name: "x"}}}}
			for _, o := range []metav1.Object{so, sj, login} {
				if _, err := DefaultLimits.Transform(o); err != nil {
					t.Fatal(err)
				}
				if len(o.GetLabels())+len(o.GetAnnotations())+len(o.GetOwnerReferences())+len(o.GetFinalizers()) > 10 {
					t.Errorf("%T: large metadata are kept", o)
				}
				if !slices.Contains(o.GetFinalizers(), Finalizer) {
					t.Errorf("%T: our finalizer is not known", o)
				}
			}
			for _, err := range []error{so.Validate(), sj.Validate()} {
				if err == nil || !strings.Contains(err.Error(), "metadata: ") {
					t.Errorf("it says %v", err)
				}
			}
			if !so.Paused() || len(login.Spec.Env) > 0 {
				t.Error("it is not paused any more, or the login is kept")
			}
		})
	}
}

// Whoever may edit objects may write their status.
func TestALargeStatusIsNotKept(t *testing.T) {
	so, sj := &ScaledObject{}, &ScaledJob{}
	for i := range 100 {
		name := fmt.Sprintf("s%d-metric", i)
		so.Status.ExternalMetricNames = append(so.Status.ExternalMetricNames, name)
		so.Status.Conditions.Set(Condition{Type: ConditionReady, Message: strings.Repeat("x", longestMessage)})
	}
	if _, err := DefaultLimits.Transform(so); err != nil || len(so.Status.ExternalMetricNames) != 100 {
		t.Errorf("a usual status is cut, %v", err)
	}
	for i := range 20_000 { // 600 KB, and each is compared with each other
		so.Status.Conditions = append(so.Status.Conditions, Condition{Type: ConditionType(fmt.Sprintf("any-%d", i)), Status: "True"})
	}
	sj.Status.Conditions = so.Status.Conditions
	for _, o := range []any{so, sj} {
		if _, err := DefaultLimits.Transform(o); err != nil {
			t.Fatal(err)
		}
	}
	if len(so.Status.Conditions) > 0 || len(sj.Status.Conditions) > 0 {
		t.Errorf("%d and %d conditions are kept", len(so.Status.Conditions), len(sj.Status.Conditions))
	}
}

// Each name of a metric is asked for and counted, by whoever reads the status.
func TestNamesOfMetricsAreBounded(t *testing.T) {
	so, sj := &ScaledObject{}, &ScaledJob{}
	for i := range 5000 {
		so.Status.ExternalMetricNames = append(so.Status.ExternalMetricNames, fmt.Sprintf("s0-%d", i))
	}
	so.Status.HpaName = "kept"
	sj.Status.ExternalMetricNames = so.Status.ExternalMetricNames
	for _, o := range []any{so, sj} {
		if _, err := DefaultLimits.Transform(o); err != nil {
			t.Fatal(err)
		}
	}
	if len(so.Status.ExternalMetricNames) != MostMetrics || len(sj.Status.ExternalMetricNames) != MostMetrics || so.Status.HpaName != "kept" {
		t.Errorf("%d and %d names of metrics are kept", len(so.Status.ExternalMetricNames), len(sj.Status.ExternalMetricNames))
	}
}

// kubectl's copy of an object is kept of ScaledObjects, whose HPAs have all of
// their annotations, and of nothing else.
func TestOfKubectlsCopyOnlyThatOfAnHPAIsKept(t *testing.T) {
	for _, o := range []metav1.Object{&ScaledObject{}, &ScaledJob{}, &TriggerAuthentication{}, &ClusterTriggerAuthentication{}} {
		written := map[string]string{lastApplied: "{}", "note": "x"}
		o.SetAnnotations(written)
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})
		if _, err := DefaultLimits.Transform(o); err != nil {
			t.Fatal(err)
		}
		_, inHPA := o.(*ScaledObject)
		got := o.GetAnnotations()
		if _, kept := got[lastApplied]; kept != inHPA || got["note"] != "x" || o.GetManagedFields() != nil || len(written) != 2 {
			t.Errorf("%T: annotations %v", o, got)
		}
	}
}
