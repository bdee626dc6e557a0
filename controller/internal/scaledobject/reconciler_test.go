package scaledobject

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func TestFourWritesToReady(t *testing.T) {
	f := newFixture(t, newObject())
	if result := f.reconcile(); result.RequeueAfter != status.FirstState {
		t.Errorf("looks again in %v", result.RequeueAfter)
	}
	f.wrote("patch ScaledObject") // the label
	f.answers(0, 5)
	f.reconcile()
	f.wrote("create HPA")
	f.observe()
	f.wrote("update ScaledObject/status")
	f.sawEvents("ScaledObjectReady")
	f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")

	so := f.object()
	if so.Labels[v1alpha1.LabelScaledObjectName] != "worker" || len(so.Finalizers) > 0 {
		t.Errorf("metadata %+v", so.ObjectMeta)
	}
	s := so.Status
	if s.HpaName != "keda-hpa-worker" || *s.OriginalReplicaCount != 3 || s.ExternalMetricNames[0] != "s0-m" || s.ScaleTargetKind != "apps/v1.Deployment" {
		t.Errorf("status %+v", s)
	}
	f.reconcile()
	f.wrote()
	f.sawEvents()
	f.observe() // what more there is to say follows when the object is ready
	f.wrote()
	f.sawEvents("KEDAScalersStarted")
}

func TestSecondReconcileWritesNothing(t *testing.T) {
	behavior := func(b *autoscalingv2.HorizontalPodAutoscalerBehavior) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) {
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{Behavior: b}}
		}
	}
	tests := map[string]func(*v1alpha1.ScaledObject){
		"no behavior":    func(*v1alpha1.ScaledObject) {},
		"empty behavior": behavior(&autoscalingv2.HorizontalPodAutoscalerBehavior{}),
		"one direction":  behavior(&autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](60)}}),
		"scaling in paused": func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationPausedScaleIn: "true"}
		},
		"cpu":       func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = append(so.Spec.Triggers, cpu("60")) },
		"modifiers": modifiers("a + 1", "2.5"),
		"own name":  named("mine"),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			so := newObject(change)
			f := newFixture(t, so)
			f.answers(0, 5)
			f.observe()
			f.reconcile()
			f.cluster.Writes()
			f.reconcile()
			f.wrote()
		})
	}
}

func TestUserEditsReachTheHPA(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.ScaledObject)
		check  func(*autoscalingv2.HorizontalPodAutoscaler) bool
	}{
		"bounds": {
			func(so *v1alpha1.ScaledObject) {
				so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = ptr.To[int32](2), ptr.To[int32](9)
			},
			func(h *autoscalingv2.HorizontalPodAutoscaler) bool {
				return *h.Spec.MinReplicas == 2 && h.Spec.MaxReplicas == 9
			},
		},
		"labels": {
			func(so *v1alpha1.ScaledObject) { so.Labels["team"] = "a" },
			func(h *autoscalingv2.HorizontalPodAutoscaler) bool { return h.Labels["team"] == "a" },
		},
		"annotations": {
			func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{"note": "x"} },
			func(h *autoscalingv2.HorizontalPodAutoscaler) bool { return h.Annotations["note"] == "x" },
		},
		"target": {
			func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Name = "other" },
			func(h *autoscalingv2.HorizontalPodAutoscaler) bool { return h.Spec.ScaleTargetRef.Name == "other" },
		},
	}
	for name, tt := range tests {
		for _, family := range []string{"answers", "is down"} {
			t.Run(name+" while the family "+family, func(t *testing.T) {
				f := settled(t, newObject())
				f.edit(tt.change)
				if family == "answers" {
					f.answers(0, 5)
				} else {
					f.states[0] = federation.State{Generation: 2, Unreachable: errDown}
				}
				f.reconcile()
				if !tt.check(f.hpa()) {
					t.Errorf("HPA %+v", f.hpa())
				}
				f.wantTargets("s0-m 5")
			})
		}
	}
}

// TestANudgedHPAIsAsDesired has the reconciler leave an HPA alone that was made to
// look, keep that beside other changes, and end it when the user wants none.
func TestANudgedHPAIsAsDesired(t *testing.T) {
	nudge := scaling.NudgeOf(time.Unix(1, 0))
	nudged := func(t *testing.T, value string) *fixture {
		f := settled(t, newObject())
		hpa := f.hpa()
		hpa.Spec.Metrics, _ = scaling.Nudge(hpa.Spec.Metrics, value)
		if err := f.cluster.Direct.Update(t.Context(), hpa); err != nil {
			t.Fatal(err)
		}
		return f
	}
	edit := func(f *fixture, change func(*v1alpha1.ScaledObject)) {
		so := f.object()
		change(so)
		if err := f.cluster.Direct.Update(t.Context(), so); err != nil {
			t.Fatal(err)
		}
		f.reconcile()
	}
	f := nudged(t, nudge)
	f.reconcile()
	f.wrote()
	edit(f, func(so *v1alpha1.ScaledObject) { so.Spec.MaxReplicaCount = ptr.To(int32(77)) })
	f.wrote("update HPA")
	if have := f.hpa(); have.Spec.MaxReplicas != 77 || scaling.Nudged(have.Spec.Metrics) != nudge {
		t.Errorf("HPA %+v", have.Spec)
	}
	edit(f, func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{v1alpha1.AnnotationHPANudge: "off"}
	})
	if have := scaling.Nudged(f.hpa().Spec.Metrics); have != "" {
		t.Errorf("nudge %q of an object that wants none", have)
	}
	f = nudged(t, "by-somebody")
	f.reconcile()
	f.wrote("update HPA")
	if have := scaling.Nudged(f.hpa().Spec.Metrics); have != "" {
		t.Errorf("a nudge %q of nobody is kept", have)
	}
}

func TestEditsOfTheHPAAreReverted(t *testing.T) {
	tests := map[string]func(*autoscalingv2.HorizontalPodAutoscaler){
		"max":     func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MaxReplicas = 1000 },
		"metrics": func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.Metrics[0].External.Target.AverageValue = nil },
		"behavior": func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
		},
		"owner":       func(h *autoscalingv2.HorizontalPodAutoscaler) { h.OwnerReferences[0].BlockOwnerDeletion = nil },
		"our labels":  func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Labels = nil },
		"annotations": func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Annotations = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := settled(t, newObject())
			before, edited := f.hpa(), f.hpa()
			change(edited)
			if err := f.cluster.Direct.Update(t.Context(), edited); err != nil {
				t.Fatal(err)
			}
			f.reconcile()
			f.wrote("update HPA")
			if merge(f.hpa(), before, true) != nil {
				t.Errorf("HPA %+v", f.hpa())
			}
		})
	}
	t.Run("labels of others stay", func(t *testing.T) {
		f := settled(t, newObject())
		edited := f.hpa()
		edited.Labels["of"] = "others"
		if err := f.cluster.Direct.Update(t.Context(), edited); err != nil {
			t.Fatal(err)
		}
		f.reconcile()
		f.wrote()
	})
	t.Run("a deleted one comes back", func(t *testing.T) {
		f := settled(t, newObject())
		if err := f.cluster.Direct.Delete(t.Context(), f.hpa()); err != nil {
			t.Fatal(err)
		}
		f.states[0] = federation.State{Generation: 1, HaveSpecs: true, Specs: f.states[0].Specs, Unreachable: errDown}
		f.reconcile()
		f.wantTargets("s0-m 5")
	})
}

func TestRename(t *testing.T) {
	t.Run("moves the metrics along", func(t *testing.T) {
		f := settled(t, newObject())
		f.edit(named("mine"))
		f.states[0] = federation.State{Generation: 2, Unreachable: errDown}
		f.reconcile()
		if f.hpa() != nil || strings.Join(targets(f.hpaNamed("mine")), ",") != "s0-m 5" || f.object().Status.HpaName != "mine" {
			t.Errorf("HPAs %+v, %+v", f.hpa(), f.hpaNamed("mine"))
		}
	})
	t.Run("deletes an earlier one that the status never told", func(t *testing.T) {
		f := settled(t, newObject())
		so := f.object()
		so.Status.HpaName = ""
		if err := f.cluster.Direct.Status().Update(t.Context(), so); err != nil {
			t.Fatal(err)
		}
		f.edit(named("mine"))
		f.answers(0, 5)
		f.reconcile()
		if f.hpa() != nil || f.hpaNamed("mine") == nil {
			t.Error("two HPAs, or none")
		}
	})
	t.Run("to a foreign one leaves the earlier one", func(t *testing.T) {
		f := settled(t, newObject())
		if err := f.cluster.Direct.Create(t.Context(), foreign("mine")); err != nil {
			t.Fatal(err)
		}
		f.edit(named("mine"))
		f.answers(0, 5)
		f.reconcile()
		if f.hpa() == nil {
			t.Error("the earlier HPA is gone")
		}
		f.wantReady(metav1.ConditionFalse, `HPA: mine belongs to Team a; annotation scaledobject.keda.sh/transfer-hpa-ownership: "true" takes it over`)
	})
}

func foreign(name string) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, OwnerReferences: []metav1.OwnerReference{{Kind: "Team", Name: "a", UID: "9", Controller: ptr.To(true)}},
	}}
}

func TestOwnership(t *testing.T) {
	transfer := func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{v1alpha1.AnnotationTransferHPAOwnership: "true"}
	}
	unowned := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keda-hpa-worker"}}
	before, namesake := foreign("keda-hpa-worker"), foreign("keda-hpa-worker")
	before.OwnerReferences[0] = metav1.OwnerReference{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: "worker", UID: "0", Controller: ptr.To(true)}
	namesake.OwnerReferences[0] = before.OwnerReferences[0]
	namesake.OwnerReferences[0].APIVersion = "example.org/v1"
	tests := map[string]struct {
		hpa    *autoscalingv2.HorizontalPodAutoscaler
		change func(*v1alpha1.ScaledObject)
		want   string
	}{
		"nobody's": {unowned, nil, `HPA: keda-hpa-worker exists and was not made for this object; annotation scaledobject.keda.sh/transfer-hpa-ownership: "true" takes it over`},
		"another's": {foreign("keda-hpa-worker"), nil,
			`HPA: keda-hpa-worker belongs to Team a; annotation scaledobject.keda.sh/transfer-hpa-ownership: "true" takes it over`},
		"that of an object of the same name before": {before, nil, ""},
		"that of an object of the same name of another group": {namesake, nil,
			`HPA: keda-hpa-worker belongs to ScaledObject worker; annotation scaledobject.keda.sh/transfer-hpa-ownership: "true" takes it over`},
		"nobody's, taken over":  {unowned, transfer, ""},
		"another's, taken over": {foreign("keda-hpa-worker"), transfer, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := newObject()
			if tt.change != nil {
				tt.change(so)
			}
			f := newFixture(t, so, tt.hpa.DeepCopy())
			f.answers(0, 5)
			f.observe()
			f.reconcile()
			if tt.want != "" {
				f.wantReady(metav1.ConditionFalse, tt.want)
				f.wrote("patch ScaledObject", "update ScaledObject/status")
				return
			}
			f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")
			if owner := metav1.GetControllerOf(f.hpa()); owner == nil || owner.UID != f.object().UID || f.object().Status.HpaName != "keda-hpa-worker" {
				t.Errorf("HPA %+v", f.hpa().ObjectMeta)
			}
		})
	}
}

// What the object had before goes on although no family has answered yet.
func TestAnObjectThatIsMadeAgainHasItsHPAAtOnce(t *testing.T) {
	again := func(t *testing.T, change ...func(*v1alpha1.ScaledObject)) *fixture {
		f := settled(t, newObject())
		so := f.object()
		so.Finalizers = nil
		if err := errors.Join(f.cluster.Direct.Update(t.Context(), so), f.cluster.Direct.Delete(t.Context(), so)); err != nil {
			t.Fatal(err)
		}
		so = newObject(change...)
		so.UID = "2"
		if err := f.cluster.Direct.Create(t.Context(), so); err != nil {
			t.Fatal(err)
		}
		f.states = map[int]federation.State{}
		return f
	}
	t.Run("adopted", func(t *testing.T) {
		f := again(t)
		f.reconcile()
		if owner := metav1.GetControllerOf(f.hpa()); owner.UID != "2" {
			t.Errorf("owner %+v", owner)
		}
		f.wantTargets("s0-m 5")
	})
	t.Run("under another name", func(t *testing.T) {
		f := again(t, named("mine"))
		f.reconcile()
		if f.hpa() != nil || strings.Join(targets(f.hpaNamed("mine")), ",") != "s0-m 5" {
			t.Errorf("HPAs %+v, %+v", f.hpa(), f.hpaNamed("mine"))
		}
	})
	t.Run("collected before the cache shows it", func(t *testing.T) {
		f := again(t)
		f.cluster.Fail(func(write string) error {
			if write != "update HPA" {
				return nil
			}
			return f.cluster.Direct.Delete(t.Context(), f.hpa())
		})
		f.reconcile()
		if f.hpa() == nil {
			t.Error("no HPA")
		}
	})
}

func TestHPAThatTheCacheDoesNotShowYet(t *testing.T) {
	f := settled(t, newObject())
	fresh := f.hpa()
	if err := f.cluster.Direct.Delete(t.Context(), f.hpa()); err != nil {
		t.Fatal(err)
	}
	f.cluster.Fail(func(write string) error {
		if write != "create HPA" {
			return nil
		}
		fresh.ResourceVersion = ""
		if err := client.IgnoreAlreadyExists(f.cluster.Direct.Create(t.Context(), fresh.DeepCopy())); err != nil {
			t.Error(err)
		}
		return nil
	})
	f.reconcile()
	f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")
}

func TestProblemsAreNamed(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.ScaledObject)
		state  *federation.State
		want   string
	}{
		"wrong metadata": {
			change: func(so *v1alpha1.ScaledObject) { so.Spec.Triggers[0].Type = "aws-sqs-queue" },
			state:  &federation.State{Rejected: errors.New(`aws-sqs-queue: queueLength: "many" is not a number`)},
			want:   `trigger 0 (aws-sqs-queue): queueLength: "many" is not a number`,
		},
		"missing family": {
			change: func(so *v1alpha1.ScaledObject) { so.Spec.MinReplicaCount = ptr.To[int32](1) },
			state:  &federation.State{Unreachable: errDown},
			want:   "trigger 0 (kafka): Service scaler-kafka in namespace sluice-system has no ready instance",
		},
		"source without a first answer": {
			change: func(so *v1alpha1.ScaledObject) { so.Spec.Triggers[0].Metadata["topic"] = "bills" },
			state:  &federation.State{Err: errors.New("kafka: dial")},
			want:   "trigger 0 (kafka): dial",
		},
		"missing target": {
			change: func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Name = "absent" },
			want:   "scaleTargetRef: apps/v1.Deployment shop/absent not found",
		},
		"unknown kind": {
			change: func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Kind = "Deploy" },
			want:   "scaleTargetRef: kind: apps/v1 Deploy is not known to this cluster",
		},
		"several at once": {
			change: func(so *v1alpha1.ScaledObject) {
				so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = ptr.To[int32](5), ptr.To[int32](1)
				so.Spec.ScaleTargetRef.Name = "absent"
			},
			want: "minReplicaCount: 5 exceeds maxReplicaCount 1; scaleTargetRef: apps/v1.Deployment shop/absent not found",
		},
		"cpu": {
			change: func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = append(so.Spec.Triggers, cpu("much")) },
			state:  &federation.State{HaveSpecs: true, Specs: []federation.MetricSpec{{Name: "m", Target: 5}}},
			want:   `trigger 1 (cpu): value: "much" is not a whole percentage greater than 0`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := settled(t, newObject())
			before := f.hpa()
			f.edit(tt.change)
			if tt.state != nil {
				tt.state.Generation = 2
				f.states[0] = *tt.state
			}
			if result := f.reconcile(); result.RequeueAfter != recheck {
				t.Errorf("looks again in %v", result.RequeueAfter)
			}
			f.wantReady(metav1.ConditionFalse, tt.want)
			// The last good metrics stay.
			if after := f.hpa(); strings.Join(targets(after), ",") != strings.Join(targets(before), ",") {
				t.Errorf("HPA metrics %q, were %q", targets(after), targets(before))
			}
			if s := f.object().Status; s.HpaName != "keda-hpa-worker" || len(s.ExternalMetricNames) != 1 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestOddThingsAreNamedAndKeepNothingFromScaling(t *testing.T) {
	f := settled(t, newObject(func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{
			v1alpha1.AnnotationActivation: "two", v1alpha1.AnnotationDoorbell: "yes", v1alpha1.AnnotationIdlePollingInterval: "2", v1alpha1.AnnotationNoData: "one",
		}
	}))
	state := f.states[0]
	state.Warnings, state.Note = []string{"lagTreshold: unknown"}, "polled: no permission"
	f.states[0] = state
	f.reconcile()
	f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling"+
		`; annotation sluice.dev/activation: "two" is not one`+
		`; annotation sluice.dev/doorbell: "yes" is neither on nor off`+
		`; annotation sluice.dev/idle-polling-interval: "2" is not a duration of at least 100ms, such as 2s`+
		`; annotation sluice.dev/no-data: "one" is none of hold, error, zero`+
		"; trigger 0 (kafka): lagTreshold: unknown; trigger 0 (kafka): polled: no permission")
	f.wantTargets("s0-m 5")

	// What is odd may be why something else is wrong.
	f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations = nil })
	state.Unreachable = errDown
	f.states[0] = state
	f.reconcile()
	f.wantReady(metav1.ConditionFalse, "trigger 0 (kafka): Service scaler-kafka in namespace sluice-system has no ready instance"+
		"; trigger 0 (kafka): lagTreshold: unknown; trigger 0 (kafka): polled: no permission")
}

func TestWaitingForAFamily(t *testing.T) {
	t.Run("that is asked about a new object says so after a while", func(t *testing.T) {
		f := newFixture(t, newObject())
		f.reconcile()
		if f.hpa() != nil || f.ready().Type != "" {
			t.Errorf("HPA %+v, Ready %+v", f.hpa(), f.ready())
		}
		f.clock.Step(status.FirstState)
		f.reconcile()
		f.wantReady(metav1.ConditionFalse, "trigger 0 (kafka): no answer yet from Service scaler-kafka; "+
			"there is no HPA until a trigger can be served: the replicas are kept, at minReplicaCount at least")
		if f.hpa() != nil {
			t.Errorf("HPA %+v of nothing known", f.hpa())
		}
	})
	t.Run("that is asked about a new generation flaps nothing", func(t *testing.T) {
		f := settled(t, newObject())
		f.clock.Step(time.Hour)
		before := f.object().Status
		f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.MaxReplicaCount = ptr.To[int32](9) })
		f.reconcile() // before the families have heard of generation 2
		f.wrote("update HPA")
		if f.hpa().Spec.MaxReplicas != 9 {
			t.Error("the bounds waited")
		}
		f.answers(0, 5)
		f.reconcile()
		f.wrote()
		for _, c := range before.Conditions {
			if have, _ := f.object().Status.Conditions.Get(c.Type); have != c {
				t.Errorf("%s was %+v, is %+v", c.Type, c, have)
			}
		}
	})
	t.Run("that is asked again after a pause flaps nothing", func(t *testing.T) {
		f := settled(t, newObject())
		f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} })
		f.reconcile()
		f.clock.Step(time.Hour)
		f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations = nil })
		answer := f.states[0]
		delete(f.states, 0)
		f.reconcile()
		f.states[0] = answer
		f.reconcile()
		f.observe()
		f.sawEvents("ScaledObjectReady", "ScaledObjectPaused", "KEDAScalersStopped", "ScaledObjectUnpaused")
		f.wantTargets("s0-m 5")
	})
}

func TestRetargetedObjectTakesNewOriginalReplicas(t *testing.T) {
	f := settled(t, newObject())
	f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Name = "other" })
	f.reconcile() // not answered yet
	f.answers(0, 5)
	f.reconcile()
	if n := *f.object().Status.OriginalReplicaCount; n != 7 {
		t.Errorf("original replicas %d", n)
	}
}

func TestRetries(t *testing.T) {
	resource := schema.GroupResource{Group: "autoscaling", Resource: "horizontalpodautoscalers"}
	tests := map[string]struct {
		err  error
		soon bool
		told bool
	}{
		"conflict":     {err: testcluster.Conflict("x"), soon: true},
		"server busy":  {err: apierrors.NewTooManyRequests("later", 1), soon: true, told: true},
		"disconnected": {err: &url.Error{Op: "Post", URL: "https://127.0.0.1", Err: errors.New("refused")}, soon: true, told: true},
		"forbidden":    {err: apierrors.NewForbidden(resource, "x", errors.New("no")), told: true},
		"invalid":      {err: apierrors.NewInvalid(schema.GroupKind{}, "x", nil), told: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, newObject())
			f.answers(0, 5)
			f.cluster.Fail(func(write string) error {
				if write == "create HPA" {
					return tt.err
				}
				return nil
			})
			if _, err := f.tryReconcile(); (err != nil) != tt.soon {
				t.Errorf("error %v", err)
			}
			if told := strings.HasPrefix(f.ready().Message, "HPA: "); told != tt.told {
				t.Errorf("Ready %+v", f.ready())
			}
		})
	}
}

func TestClaimThatFailsForgetsNoHPA(t *testing.T) {
	f := settled(t, newObject())
	f.annotate(func(so *v1alpha1.ScaledObject) { so.Labels = nil })
	f.cluster.Fail(func(write string) error {
		if write == "patch ScaledObject" {
			return apierrors.NewTooManyRequests("later", 1)
		}
		return nil
	})
	if _, err := f.tryReconcile(); err == nil {
		t.Error("no retry")
	}
	if s := f.object().Status; s.HpaName != "keda-hpa-worker" {
		t.Errorf("status %+v", s)
	}
}

func TestObjectsThatAreGone(t *testing.T) {
	f := settled(t, newObject(func(so *v1alpha1.ScaledObject) { so.UID = "1" }))
	so := f.object()
	so.Finalizers = nil
	if err := f.cluster.Direct.Update(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	if err := f.cluster.Direct.Delete(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	f.reconcile()
	f.wrote()
}

// TestOneBadTriggerHoldsBackNothingElse has two triggers in a new object, of
// which the first never works, and then changes everything else.
func TestOneBadTriggerHoldsBackNothingElse(t *testing.T) {
	tests := map[string]struct {
		trigger v1alpha1.ScaleTrigger
		state   *federation.State
		want    string
	}{
		"refused": {kafka("bills"), &federation.State{Rejected: errors.New("kafka: topic: missing")}, "trigger 0 (kafka): topic: missing"},
		"without a family": {
			v1alpha1.ScaleTrigger{Type: "kafak"}, &federation.State{Unreachable: errors.New("Service scaler-kafak not found in namespace sluice-system")},
			"trigger 0 (kafak): Service scaler-kafak not found in namespace sluice-system",
		},
		"specs that no HPA takes": {
			kafka("bills"), &federation.State{HaveSpecs: true, Specs: []federation.MetricSpec{{Name: "m"}}},
			"trigger 0 (kafka): metric s0-m: target 0 is not greater than 0",
		},
		"a metricType": {
			v1alpha1.ScaleTrigger{Type: "kafka", MetricType: autoscalingv2.UtilizationMetricType}, nil,
			`trigger 0 (kafka): metricType: "Utilization" is neither AverageValue nor Value`,
		},
		"cpu as of old": {
			v1alpha1.ScaleTrigger{Type: "cpu", Metadata: map[string]string{"type": "Utilization", "value": "60"}}, nil,
			"trigger 0 (cpu): metadata.type: was removed: delete it and write metricType: Utilization beside metadata",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, newObject(func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers = []v1alpha1.ScaleTrigger{tt.trigger, {Type: "cron"}}
			}))
			says := func() {
				if tt.state != nil {
					state := *tt.state
					state.Generation = f.object().Generation
					f.states[0] = state
				}
				f.answers(1, 5)
			}
			says()
			f.reconcile()
			f.wantTargets("s1-m 5")
			f.wantReady(metav1.ConditionFalse, tt.want)

			f.edit(func(so *v1alpha1.ScaledObject) {
				so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = ptr.To[int32](2), ptr.To[int32](9)
				so.Spec.Triggers = append(so.Spec.Triggers, cpu("70"))
			})
			says()
			f.answers(1, 7)
			f.reconcile()
			f.wantTargets("s1-m 7", "cpu")
			if spec := f.hpa().Spec; *spec.MinReplicas != 2 || spec.MaxReplicas != 9 {
				t.Errorf("from %d to %d", *spec.MinReplicas, spec.MaxReplicas)
			}
			f.wantReady(metav1.ConditionFalse, tt.want)
		})
	}
}

// The HPA of an object that works is told nothing while the API server asks
// nobody of us: Ready says so, of objects that have external metrics.
func TestReadySaysThatNobodyIsAsked(t *testing.T) {
	f := newFixture(t, newObject())
	f.answers(0, 5)
	var unasked error
	f.Unasked = func() error { return unasked }
	f.reconcile()
	f.observe()
	f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")
	unasked = errors.New("APIService v1beta1.external.metrics.k8s.io is gone")
	f.reconcile()
	f.observe()
	f.wantReady(metav1.ConditionFalse, "APIService v1beta1.external.metrics.k8s.io is gone")
	if f.hpa() == nil {
		t.Error("the HPA went")
	}
	unasked = nil
	f.reconcile()
	f.observe()
	f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")

	cpuAlone := newFixture(t, newObject(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = []v1alpha1.ScaleTrigger{cpu("50")} }))
	cpuAlone.Unasked = func() error { return errors.New("gone") }
	cpuAlone.reconcile()
	cpuAlone.observe()
	cpuAlone.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")
}

// HPAs of an object under other names go some at a time, and those that are going
// already are left alone: somebody holds them.
func TestHPAsThatAreGoingAreLeftAlone(t *testing.T) {
	so := newObject()
	controls := true
	var others []client.Object
	for i := range 3 * mostOthers {
		hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("other-", i), UID: types.UID(fmt.Sprint("hpa-", i)),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: so.Name, UID: so.UID, Controller: &controls}}}}
		if i%3 == 0 {
			hpa.Finalizers, hpa.DeletionTimestamp = []string{"example.org/held"}, &metav1.Time{Time: start}
		}
		others = append(others, hpa)
	}
	f := newFixture(t, so, others...)
	f.answers(0, 5)
	deleted := func() (n int) {
		f.reconcile()
		for _, write := range f.cluster.Writes() {
			if strings.HasPrefix(write, "delete") {
				n++
			}
		}
		return n
	}
	for round, want := range []int{mostOthers, mostOthers, 0} {
		if got := deleted(); got != want {
			t.Errorf("round %d: %d are deleted, want %d", round, got, want)
		}
	}
}

// Two ScaledObjects that name one HPA, or one target, do not take it from each other
// for ever: it is that of the one that has it, or of the older one, while it is there.
func TestTwoObjectsDoNotFight(t *testing.T) {
	transfer := func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{v1alpha1.AnnotationTransferHPAOwnership: "true"}
	}
	other := func(target string) *v1alpha1.ScaledObject {
		so := newObject()
		so.Name, so.UID, so.Spec.ScaleTargetRef.Name = "elder", "2", target
		return so
	}
	ofOther := func() *autoscalingv2.HorizontalPodAutoscaler {
		hpa := foreign("keda-hpa-worker")
		hpa.OwnerReferences[0] = metav1.OwnerReference{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: "elder", UID: "2", Controller: ptr.To(true)}
		return hpa
	}
	t.Run("HPA", func(t *testing.T) {
		f := newFixture(t, newObject(transfer), other("other"), ofOther())
		f.answers(0, 5)
		f.observe()
		f.reconcile()
		f.wantReady(metav1.ConditionFalse, "HPA: keda-hpa-worker belongs to ScaledObject elder, which is there: name another HPA, or delete that object")
		f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations[v1alpha1.AnnotationPaused] = "true" })
		f.reconcile()
		if f.hpa() == nil || metav1.GetControllerOf(f.hpa()).Name != "elder" {
			t.Errorf("while paused the HPA of the other is %+v", f.hpa())
		}
	})
	t.Run("HPA of one that is gone", func(t *testing.T) {
		f := newFixture(t, newObject(transfer), ofOther())
		f.answers(0, 5)
		f.observe()
		f.reconcile()
		f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")
	})
	t.Run("target", func(t *testing.T) {
		f := settled(t, newObject())
		if err := f.cluster.Direct.Create(t.Context(), other("worker")); err != nil {
			t.Fatal(err)
		}
		f.reconcile()
		f.wantReady(metav1.ConditionFalse, `scaleTargetRef: Deployment "worker" is already scaled by ScaledObject "elder", which is older`)
		if f.hpa() != nil {
			t.Error("its HPA is there")
		}
	})
}
