package manager

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledobject"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// Every kind that a tenant writes, and the controller watches, is kept within a
// budget. What is beyond it is a stub of some KiB that says why, also after a
// second pass.
func TestEveryKindOfATenantHasABudget(t *testing.T) {
	none := kept.New(0, 0)
	byObject := options(Options{Selector: labels.Everything(), AuthenticationSelector: labels.Everything(), Limits: v1alpha1.DefaultLimits},
		federation.WorkloadsIn(none), none).Cache.ByObject
	for object, by := range byObject {
		kind := fmt.Sprintf("%T", object)
		t.Run(kind, func(t *testing.T) {
			o := reflect.New(reflect.TypeOf(object).Elem()).Interface().(client.Object)
			o.SetNamespace("shop")
			o.SetName("worker")
			o.SetAnnotations(map[string]string{"note": strings.Repeat("x", 200<<10), v1alpha1.AnnotationPaused: "true"})
			o.SetLabels(map[string]string{v1alpha1.LabelScaledJobName: "batch"})
			o.SetOwnerReferences(make([]metav1.OwnerReference, 10))
			fill(o)
			once, err := by.Transform(o)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := by.Transform(once)
			if err != nil {
				t.Fatal(err)
			}
			stub := twice.(client.Object)
			if !kept.WantsRoom(stub) || stub.GetName() != "worker" || stub.GetNamespace() != "shop" {
				t.Errorf("kept %.300v: %q", stub, kept.Why(stub))
			}
			if got := kept.Size(stub); got > 16<<10 {
				t.Errorf("a stub takes %d bytes", got)
			}
			if v, ok := stub.(interface{ Validate() error }); ok && (v.Validate() == nil || !strings.Contains(v.Validate().Error(), "no room")) {
				t.Errorf("it says %v", v.Validate())
			}
		})
	}
}

// fill makes objects large within their limits.
func fill(o client.Object) {
	long := strings.Repeat("x", 10<<10)
	trigger := v1alpha1.ScaleTrigger{Type: "redis", Metadata: map[string]string{"listName": long}}
	conditions := v1alpha1.Conditions{{Type: v1alpha1.ConditionReady, Message: strings.Repeat("x", 100<<10)}}
	switch o := o.(type) {
	case *v1alpha1.ScaledObject:
		o.Spec.ScaleTargetRef.Name, o.Spec.Triggers, o.Status.Conditions = long, []v1alpha1.ScaleTrigger{trigger, trigger}, conditions
	case *v1alpha1.ScaledJob:
		o.Spec.Triggers, o.Status.Conditions = []v1alpha1.ScaleTrigger{trigger, trigger}, conditions
	case *v1alpha1.TriggerAuthentication:
		o.Spec.SecretTargetRef = make([]v1alpha1.TargetRef, 100)
	case *v1alpha1.ClusterTriggerAuthentication:
		o.Spec.SecretTargetRef = make([]v1alpha1.TargetRef, 100)
	case eventing.Source:
		o.Wants().ClusterName, o.State().Conditions = long, v1alpha1.Conditions{{Message: long}}
	case *autoscalingv2.HorizontalPodAutoscaler:
		o.Spec.Metrics, o.Spec.ScaleTargetRef.Name = make([]autoscalingv2.MetricSpec, 500), long
	}
}

func updated(before, after client.Object) event.UpdateEvent {
	return event.UpdateEvent{ObjectOld: before, ObjectNew: after}
}

// An object that there is room for by now is looked at, although it is the same.
func TestRoomIsAChange(t *testing.T) {
	stub, whole := &v1alpha1.ScaledObject{}, &v1alpha1.ScaledObject{}
	kept.NoRoom(stub, "too many")
	for name, changed := range map[string]bool{"spec": specChanged().Update(updated(stub, whole)), "workload": templateOrReplicasChanged().Update(updated(stub, whole))} {
		if !changed {
			t.Errorf("%s: nobody looks", name)
		}
	}
	if specChanged().Update(updated(stub, stub)) || specChanged().Update(updated(whole, whole)) {
		t.Error("what is as it was is looked at")
	}
}

// No index has names that no object can have, and what indexes keep of many
// references counts.
func TestIndexesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 250<<10)
	so := &v1alpha1.ScaledObject{Spec: v1alpha1.ScaledObjectSpec{
		ScaleTargetRef: v1alpha1.ScaleTarget{Name: long},
		Triggers:       []v1alpha1.ScaleTrigger{{AuthenticationRef: &v1alpha1.AuthenticationRef{Name: long}}},
		Advanced:       &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{Name: long}},
	}}
	controls := true
	hpa := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Name: long}}}
	hpa.OwnerReferences = []metav1.OwnerReference{{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: long, Controller: &controls}}
	indexes := append(rules.Indexes(), rules.Index{Object: so, Keys: authentication.ReferencesOf}, rules.Index{Object: hpa, Keys: scaledobject.OwnerOf})
	for _, index := range indexes {
		o := client.Object(so)
		if _, ok := index.Object.(*autoscalingv2.HorizontalPodAutoscaler); ok {
			o = hpa
		}
		if keys := index.Keys(o); len(keys) != 0 {
			t.Errorf("%T by %s: a key has %d bytes", o, index.Field, len(keys[0]))
		}
	}
	b := kept.New(kept.Unbounded, kept.Unbounded)
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch"}}
	for i := range 100 {
		sj.Spec.Triggers = append(sj.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "k", AuthenticationRef: &v1alpha1.AuthenticationRef{Name: fmt.Sprint(i)}})
	}
	if _, err := keptObject(Options{Limits: v1alpha1.DefaultLimits}, b, "ScaledJob", (*v1alpha1.ScaledJob).Stub)(sj); err != nil {
		t.Fatal(err)
	}
	if beside := b.Used("shop") - kept.PerObject - kept.Size(sj); beside < 90*kept.CostOfKey {
		t.Errorf("%d bytes are counted for 100 keys of an index", beside)
	}
}

// What is remembered of what was said of a trigger is as small as can be, and tells
// all that the reconciler acts on.
func TestWhatWasSaidIsRememberedInShort(t *testing.T) {
	if size := reflect.TypeFor[said]().Size(); size > 64 || kept.Size(said{}) > 64 {
		t.Errorf("%d bytes are remembered", size)
	}
	known := map[said]string{}
	for name, state := range map[string]federation.State{
		"nothing": {}, "a generation": {Generation: 1}, "a note": {Note: "x"}, "a warning": {Warnings: []string{"x"}}, "two": {Warnings: []string{"x", "y"}},
		"joined": {Warnings: []string{"xy"}}, "rejected": {Rejected: errors.New("x")}, "away": {Unreachable: errors.New("x")},
		"a metric": {Specs: []federation.MetricSpec{{Name: "x"}}}, "its target": {Specs: []federation.MetricSpec{{Name: "x", Target: 0.1}}},
	} {
		of := saidOf(state)
		if of != saidOf(state) || known[of] != "" {
			t.Errorf("%s is the same as %s", name, known[of])
		}
		known[of] = name
	}
}
