package scaledobject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func cpu(percent string) v1alpha1.ScaleTrigger {
	return v1alpha1.ScaleTrigger{Type: "cpu", MetricType: autoscalingv2.UtilizationMetricType, Metadata: map[string]string{"value": percent}}
}

func memoryOfApp() v1alpha1.ScaleTrigger {
	return v1alpha1.ScaleTrigger{
		Type: "memory", MetricType: autoscalingv2.AverageValueMetricType, Metadata: map[string]string{"value": "512Mi", "containerName": "app"},
	}
}

func modifiers(formula, target string) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Name = "a"
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: formula, Target: target}}
	}
}

func named(name string) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{Name: name}}
	}
}

func TestOfAnHPAInTheCacheOnlyWhatIsRead(t *testing.T) {
	condition := func(of autoscalingv2.HorizontalPodAutoscalerConditionType) autoscalingv2.HorizontalPodAutoscalerCondition {
		return autoscalingv2.HorizontalPodAutoscalerCondition{Type: of, Status: "True", Reason: "Any", Message: "a sentence"}
	}
	reported := func(name string) autoscalingv2.MetricStatus {
		return autoscalingv2.MetricStatus{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricStatus{
			Metric:  autoscalingv2.MetricIdentifier{Name: name, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"any": "label"}}},
			Current: autoscalingv2.MetricValueStatus{AverageValue: ptr.To(resource.MustParse("3334m"))},
		}}
	}
	whole := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Name: "worker", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "kept"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "any"}},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 7},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			DesiredReplicas: 3, CurrentReplicas: 2, CurrentMetrics: []autoscalingv2.MetricStatus{
				reported("s0-kafka-orders"), {Type: autoscalingv2.ResourceMetricSourceType}, {Type: autoscalingv2.ExternalMetricSourceType},
				reported(strings.Repeat("x", longestName+1)),
			},
			Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
				condition(autoscalingv2.AbleToScale), condition(autoscalingv2.ScalingActive), condition(autoscalingv2.ScalingLimited),
			},
		},
	}
	reason := func(kind autoscalingv2.HorizontalPodAutoscalerConditionType) autoscalingv2.HorizontalPodAutoscalerCondition {
		c := condition(kind)
		return autoscalingv2.HorizontalPodAutoscalerCondition{Type: c.Type, Status: c.Status, Reason: c.Reason}
	}
	want := whole.DeepCopy()
	want.ManagedFields = nil
	want.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
			reason(autoscalingv2.AbleToScale), condition(autoscalingv2.ScalingActive), reason(autoscalingv2.ScalingLimited),
		},
		DesiredReplicas: 3, CurrentReplicas: 2, CurrentMetrics: []autoscalingv2.MetricStatus{reported("s0-kafka-orders")},
	}
	want.Status.CurrentMetrics[0].External.Metric.Selector = nil
	for range mostReported {
		whole.Status.CurrentMetrics = append(whole.Status.CurrentMetrics, reported("s1-more"))
		want.Status.CurrentMetrics = append(want.Status.CurrentMetrics, reported("s1-more"))
		want.Status.CurrentMetrics[len(want.Status.CurrentMetrics)-1].External.Metric.Selector = nil
	}
	want.Status.CurrentMetrics = want.Status.CurrentMetrics[:mostReported]
	if got, err := Stripped(kept.New(kept.Unbounded, kept.Unbounded))(whole); err != nil || !apiequality.Semantic.DeepEqual(got, want) {
		t.Errorf("kept %+v, %v", got, err)
	}
}

// Anybody's HPAs are in the cache. Of one that is large is kept what it steers, and
// whose it is: one of ours differs, and is written again.
func TestLargeHPAsAreNotKept(t *testing.T) {
	so := newObject()
	deployment := v1alpha1.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"}
	large := func() *autoscalingv2.HorizontalPodAutoscaler {
		hpa := desiredHPA(so, deployment, metrics{}, "v", nil)
		hpa.OwnerReferences = append(make([]metav1.OwnerReference, 2000), hpa.OwnerReferences...)
		hpa.Spec.Metrics = make([]autoscalingv2.MetricSpec, 20_000)
		for i := range 5000 {
			hpa.Labels[fmt.Sprint("label-", i)] = "x"
		}
		return hpa
	}
	hpa := large()
	if _, err := Stripped(kept.New(kept.Unbounded, kept.Unbounded))(hpa); err != nil {
		t.Fatal(err)
	}
	if len(hpa.Spec.Metrics)+len(hpa.Labels)+len(hpa.OwnerReferences) > 10 {
		t.Errorf("%d metrics, %d labels and %d owners are kept", len(hpa.Spec.Metrics), len(hpa.Labels), len(hpa.OwnerReferences))
	}
	if desired := desiredHPA(so, deployment, metrics{}, "v", nil); !owns(so, hpa) || hpa.Spec.ScaleTargetRef != desired.Spec.ScaleTargetRef || merge(hpa, desired, true) == nil {
		t.Error("whose it is or what it steers is not known, or it passes for what it should be")
	}
}

func TestHPA(t *testing.T) {
	so := newObject(func(so *v1alpha1.ScaledObject) {
		so.Labels = map[string]string{"team": "a", "app.kubernetes.io/version": "mine", "shard": "1", "zone": "b", v1alpha1.LabelScaledObjectName: "copied"}
		so.Annotations = map[string]string{
			"note": "kept", v1alpha1.AnnotationHPAExcludedLabels: "shard,other, zone", v1alpha1.AnnotationSpecs: "forged",
			"kubectl.kubernetes.io/last-applied-configuration": "{}",
		}
		so.Spec.MinReplicaCount = ptr.To[int32](0)
		so.Spec.Triggers = append(so.Spec.Triggers, cpu("60"), kafka("bills"), memoryOfApp())
		so.Spec.Triggers[2].MetricType = autoscalingv2.ValueMetricType
	})
	f := newFixture(t, so)
	f.answers(0, 2.5)
	f.answers(2, 7)
	f.observe()
	f.reconcile()
	hpa := f.hpa()

	f.wantTargets("memory of app", "s0-m 2.500", "s2-m value 7", "cpu")
	if sel := hpa.Spec.Metrics[1].External.Metric.Selector.MatchLabels; sel[v1alpha1.LabelScaledObjectName] != "worker" {
		t.Errorf("selector %v", sel)
	}
	if *hpa.Spec.MinReplicas != 1 || hpa.Spec.MaxReplicas != 100 || hpa.Spec.Behavior != nil {
		t.Errorf("spec %+v", hpa.Spec)
	}
	if ref := hpa.Spec.ScaleTargetRef; ref != (autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "worker", APIVersion: "apps/v1"}) {
		t.Errorf("target %+v", ref)
	}
	want := map[string]string{
		"app.kubernetes.io/name": "keda-hpa-worker", "app.kubernetes.io/version": "mine", "app.kubernetes.io/part-of": "worker",
		"app.kubernetes.io/managed-by": "keda-operator", "team": "a", v1alpha1.LabelScaledObjectName: "worker", "zone": "b", // keys are not trimmed
	}
	if !apiequality.Semantic.DeepEqual(hpa.Labels, want) {
		t.Errorf("labels %v", hpa.Labels)
	}
	if hpa.Annotations["note"] != "kept" || hpa.Annotations["kubectl.kubernetes.io/last-applied-configuration"] != "{}" || hpa.Annotations[v1alpha1.AnnotationSpecs] != hashes(so) {
		t.Errorf("annotations %v", hpa.Annotations)
	}
	owner := hpa.OwnerReferences[0]
	if owner.Kind != "ScaledObject" || owner.UID != "1" || !*owner.Controller || !*owner.BlockOwnerDeletion || owner.APIVersion != "keda.sh/v1alpha1" {
		t.Errorf("owner %+v", owner)
	}
	s := f.object().Status
	if !slices.Equal(s.ExternalMetricNames, []string{"s0-m", "s2-m"}) || !slices.Equal(s.ResourceMetricNames, []string{"cpu"}) {
		t.Errorf("status %v %v", s.ExternalMetricNames, s.ResourceMetricNames)
	}
}

// TestLabelsThatSelectCannotBeExcluded has an installation that would not see an
// HPA without them.
func TestLabelsThatSelectCannotBeExcluded(t *testing.T) {
	f := newFixture(t, newObject(func(so *v1alpha1.ScaledObject) {
		so.Labels = map[string]string{"shard": "1", "team": "a"}
		so.Annotations = map[string]string{v1alpha1.AnnotationHPAExcludedLabels: "shard,team"}
	}))
	f.Selecting = []string{"shard", "other"}
	f.answers(0, 5)
	f.observe()
	f.reconcile()
	if l := f.hpa().Labels; l["shard"] != "1" || l["team"] != "" {
		t.Errorf("labels %v", l)
	}
	f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling; annotation scaledobject.keda.sh/hpa-excluded-labels: shard is copied all the same, it selects the objects of this installation")
}

func TestLabelValuesAreCut(t *testing.T) {
	if v := labelValue(strings.Repeat("a", 60) + "---" + "b"); v != strings.Repeat("a", 60) {
		t.Errorf("%q", v)
	}
}

func TestModifiers(t *testing.T) {
	so := newObject(modifiers("a * 2", "2.5"), func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers = append(so.Spec.Triggers, cpu("60"), memoryOfApp())
	})
	f := settled(t, so)
	f.wantTargets("memory of app", "composite-metric 2.500", "cpu")
	s := f.object().Status
	if s.CompositeScalerName != "composite-metric" || !slices.Equal(s.ExternalMetricNames, []string{"s0-m"}) {
		t.Errorf("status %+v", s)
	}
	// The family is gone: the adapter still needs the triggers' names.
	f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.MaxReplicaCount = ptr.To[int32](9) })
	f.states[0] = federation.State{Generation: 2, Unreachable: errDown}
	f.reconcile()
	f.wantTargets("memory of app", "composite-metric 2.500", "cpu")
	if s := f.object().Status; !slices.Equal(s.ExternalMetricNames, []string{"s0-m"}) || f.hpa().Spec.MaxReplicas != 9 {
		t.Errorf("status %v", s.ExternalMetricNames)
	}
	f.edit(func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced.ScalingModifiers.MetricType = autoscalingv2.ValueMetricType
	})
	f.answers(0, 5)
	f.reconcile()
	f.wantTargets("memory of app", "composite-metric value 2.500", "cpu")
	f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.Advanced = nil })
	f.answers(0, 5)
	f.reconcile()
	f.wantTargets("memory of app", "s0-m 5", "cpu")
	if s := f.object().Status; s.CompositeScalerName != "" {
		t.Errorf("composite scaler name %q", s.CompositeScalerName)
	}
}

func TestMetricNamesThatAreGoneLeaveTheStatus(t *testing.T) {
	f := settled(t, newObject(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = append(so.Spec.Triggers, cpu("60")) }))
	f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = []v1alpha1.ScaleTrigger{memoryOfApp()} })
	f.reconcile()
	f.wantTargets("memory of app")
	if s := f.object().Status; len(s.ExternalMetricNames) != 0 || len(s.ResourceMetricNames) != 0 {
		t.Errorf("external %v, resource %v", s.ExternalMetricNames, s.ResourceMetricNames)
	}
}

// TestBuild has two kafka triggers, of which the second may not answer.
func TestBuild(t *testing.T) {
	two := newObject(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = append(so.Spec.Triggers, kafka("bills")) })
	answer := func(name string) federation.State {
		return federation.State{Generation: 1, HaveSpecs: true, Specs: []federation.MetricSpec{{Name: name, Target: 5}}}
	}
	live := func(so *v1alpha1.ScaledObject, names ...string) *autoscalingv2.HorizontalPodAutoscaler {
		built := metrics{hashes: hashes(so)}
		for _, n := range names {
			built.specs = append(built.specs, scaling.External(so, n, 3, autoscalingv2.AverageValueMetricType))
		}
		return desiredHPA(so, v1alpha1.GroupVersionKindResource{Kind: "Deployment", Version: "v1"}, built, "", nil)
	}
	changed := two.DeepCopy()
	changed.Spec.Triggers[1].Metadata["topic"] = "returns"
	swapped := two.DeepCopy()
	slices.Reverse(swapped.Spec.Triggers)
	with := func(change ...func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
		so := two.DeepCopy()
		for _, c := range change {
			c(so)
		}
		return so
	}
	add := func(more v1alpha1.ScaleTrigger) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = append(so.Spec.Triggers, more) }
	}
	fallback := func(so *v1alpha1.ScaledObject) {
		so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 5}
	}
	down := federation.State{Generation: 1, Unreachable: errDown}
	isDown := func(i string) string {
		return "trigger " + i + " (kafka): " + strings.TrimPrefix(errDown.Error(), "kafka: ")
	}
	refused := func(names ...string) federation.State {
		state := federation.State{Generation: 1, Rejected: errors.New("kafka: url: is none")}
		for _, n := range names {
			state.Specs = append(state.Specs, answer(n).Specs...)
		}
		return state
	}
	specs := func(all ...federation.MetricSpec) federation.State {
		return federation.State{Generation: 1, HaveSpecs: true, Specs: all}
	}
	const noHPA = "there is no HPA until a trigger can be served: the replicas are kept, at minReplicaCount at least"
	tests := map[string]struct {
		so       *v1alpha1.ScaledObject
		live     *autoscalingv2.HorizontalPodAutoscaler
		states   map[int]federation.State
		fresh    bool
		want     []string
		unusable bool
		problem  string
		waiting  bool
	}{
		"all answer": {
			states: map[int]federation.State{0: answer("a"), 1: answer("b")}, want: []string{"s0-a 5", "s1-b 5"},
		},
		"one is down and keeps its entry": {
			live: live(two, "s0-a", "s1-b"), states: map[int]federation.State{0: answer("a"), 1: down},
			want: []string{"s0-a 5", "s1-b 3"}, problem: isDown("1"),
		},
		"one changed and is down: it keeps its place, the other is as it should be": {
			so: changed, live: live(two, "s0-a", "s1-b"), states: map[int]federation.State{0: answer("a"), 1: down},
			want: []string{"s0-a 5", "s1-b 3"}, problem: isDown("1"),
		},
		"one changed and is refused: it keeps its place": {
			so: changed, live: live(two, "s0-a", "s1-b"), states: map[int]federation.State{0: answer("a"), 1: refused()},
			want: []string{"s0-a 5", "s1-b 3"}, problem: "trigger 1 (kafka): url: is none",
		},
		"one changed and is refused, though its metric would have another name": {
			so: changed, live: live(two, "s0-a", "s1-b"), states: map[int]federation.State{0: answer("a"), 1: refused("c")},
			want: []string{"s0-a 5", "s1-b 3"}, problem: "trigger 1 (kafka): url: is none",
		},
		"one moved and is down: its metrics move along": {
			so: swapped, live: live(two, "s0-a", "s1-b"), states: map[int]federation.State{0: answer("b"), 1: down},
			want: []string{"s0-b 5", "s1-a 3"}, problem: isDown("1"),
		},
		"one is gone, and a new one in its place is down": {
			so: with(func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers = []v1alpha1.ScaleTrigger{so.Spec.Triggers[1], kafka("new")}
			}),
			live: live(two, "s0-a", "s1-b"), states: map[int]federation.State{0: answer("b"), 1: down},
			want: []string{"s0-b 5"}, problem: isDown("1"),
		},
		"the first is down, no HPA yet": {
			states: map[int]federation.State{0: down, 1: answer("b")}, want: []string{"s1-b 5"}, problem: isDown("0"),
		},
		"the first is refused, no HPA yet": {
			states: map[int]federation.State{0: refused(), 1: answer("b")}, want: []string{"s1-b 5"}, problem: "trigger 0 (kafka): url: is none",
		},
		"the first is refused but named: it does not keep the other from being scaled down": {
			states: map[int]federation.State{0: refused("a"), 1: answer("b")}, want: []string{"s1-b 5"}, problem: "trigger 0 (kafka): url: is none",
		},
		"all are refused, one is named": {
			states: map[int]federation.State{0: refused(), 1: refused("b")}, want: []string{"s1-b 5"},
			problem: "trigger 0 (kafka): url: is none\ntrigger 1 (kafka): url: is none",
		},
		"all are down, no HPA yet": {
			states: map[int]federation.State{0: down, 1: down}, unusable: true, problem: isDown("0") + "\n" + isDown("1") + "\n" + noHPA,
		},
		"a fallback needs a place": {
			so: with(fallback), states: map[int]federation.State{0: down, 1: answer("b")}, want: []string{"s0-kafka 1", "s1-b 5"}, problem: isDown("0"),
		},
		"a fallback takes the place that is named": {
			so: with(fallback), states: map[int]federation.State{0: refused("a"), 1: answer("b")}, want: []string{"s0-a 5", "s1-b 5"},
			problem: "trigger 0 (kafka): url: is none",
		},
		"a formula needs all, and its HPA none": {
			so: with(modifiers("a", "2")), states: map[int]federation.State{0: down, 1: answer("b")}, want: []string{"composite-metric 2"},
			problem: isDown("0"),
		},
		"one is asked a moment ago": {
			states: map[int]federation.State{0: answer("a")}, fresh: true, unusable: true, waiting: true,
			problem: "trigger 1 (kafka): no answer yet from Service scaler-kafka",
		},
		"one was asked a while ago": {
			states: map[int]federation.State{0: answer("a")}, want: []string{"s0-a 5"},
			problem: "trigger 1 (kafka): no answer yet from Service scaler-kafka",
		},
		"one waits, the other is down": {
			states: map[int]federation.State{0: down}, fresh: true, unusable: true, waiting: true,
			problem: isDown("0") + "\ntrigger 1 (kafka): no answer yet from Service scaler-kafka\n" + noHPA,
		},
		"one that was added waits, the other goes on": {
			live: live(two, "s0-a"), states: map[int]federation.State{0: answer("a")}, fresh: true, want: []string{"s0-a 5"}, waiting: true,
			problem: "trigger 1 (kafka): no answer yet from Service scaler-kafka",
		},
		"an answer for an earlier generation is none": {
			states: map[int]federation.State{0: answer("a"), 1: {HaveSpecs: true, Specs: answer("b").Specs}}, fresh: true, unusable: true, waiting: true,
			problem: "trigger 1 (kafka): no answer yet from Service scaler-kafka",
		},
		"a source that fails does not matter": {
			states: map[int]federation.State{0: answer("a"), 1: func() federation.State { s := answer("b"); s.Err = errDown; return s }()},
			want:   []string{"s0-a 5", "s1-b 5"},
		},
		"a name twice": {
			states: map[int]federation.State{0: specs(federation.MetricSpec{Name: "a", Target: 5}, federation.MetricSpec{Name: "a", Target: 6}), 1: answer("b")},
			want:   []string{"s1-b 5"}, problem: "trigger 0 (kafka): metric s0-a: named twice",
		},
		"more metrics than an object may have": {
			states: map[int]federation.State{0: answer("a"), 1: specs(slices.Repeat([]federation.MetricSpec{{Name: "b", Target: 5}}, 1000)...)},
			want:   []string{"s0-a 5"}, problem: "trigger 1 (kafka): 1000 metrics, with those of the triggers before it more than the 1000 that an object may have",
		},
		"a target of 0": {
			states: map[int]federation.State{0: specs(federation.MetricSpec{Name: "a"}), 1: answer("b")},
			want:   []string{"s1-b 5"}, problem: "trigger 0 (kafka): metric s0-a: target 0 is not greater than 0",
		},
		"a name that no HPA takes": {
			states: map[int]federation.State{0: specs(federation.MetricSpec{Name: "a/b", Target: 5}), 1: answer("b")},
			want:   []string{"s1-b 5"}, problem: `trigger 0 (kafka): metric "s0-a/b": an HPA takes no name that may not contain '/'`,
		},
		"a metricType that is none of its": {
			so:     with(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers[0].MetricType = autoscalingv2.UtilizationMetricType }),
			states: map[int]federation.State{0: answer("a"), 1: answer("b")},
			want:   []string{"s1-b 5"}, problem: `trigger 0 (kafka): metricType: "Utilization" is neither AverageValue nor Value`,
		},
		"cpu that is wrong": {
			so: with(add(cpu("much"))), states: map[int]federation.State{0: answer("a"), 1: answer("b")},
			want: []string{"s0-a 5", "s1-b 5"}, problem: `trigger 2 (cpu): value: "much" is not a whole percentage greater than 0`,
		},
		"cpu that is no longer right stays as it is measured": {
			so: with(add(cpu("much"))), states: map[int]federation.State{0: answer("a"), 1: answer("b")},
			live: func() *autoscalingv2.HorizontalPodAutoscaler {
				h := live(two, "s0-a", "s1-b")
				spec, _ := scaling.Builtin(cpu("60"))
				h.Spec.Metrics = append(h.Spec.Metrics, spec)
				return h
			}(),
			want: []string{"s0-a 5", "s1-b 5", "cpu"}, problem: `trigger 2 (cpu): value: "much" is not a whole percentage greater than 0`,
		},
		"the HPA of somebody else stays while there is nothing better": {
			live: func() *autoscalingv2.HorizontalPodAutoscaler {
				h := live(two, "queue")
				h.Annotations = nil
				return h
			}(),
			states: map[int]federation.State{0: down, 1: down},
			want:   []string{"queue 3"}, problem: isDown("0") + "\n" + isDown("1"),
		},
		"the HPA that KEDA made keeps the places of those that are down": {
			live: func() *autoscalingv2.HorizontalPodAutoscaler {
				h := live(two, "s0-x", "s1-y")
				h.Annotations = nil
				return h
			}(),
			states: map[int]federation.State{0: answer("a"), 1: down},
			want:   []string{"s0-a 5", "s1-y 3"}, problem: isDown("1"),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := tt.so
			if so == nil {
				so = two
			}
			out := build(so, tt.live, func(i int) (federation.State, bool) { s, ok := tt.states[i]; return s, ok }, tt.fresh)
			have := targets(&autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: out.specs}})
			if out.usable == tt.unusable || out.waiting != tt.waiting || !tt.unusable && !slices.Equal(have, tt.want) {
				t.Errorf("usable %v, waiting %v, metrics %q", out.usable, out.waiting, have)
			}
			var problems []string
			for _, p := range out.problems {
				problems = append(problems, p.Error())
			}
			if joined := strings.Join(problems, "\n"); joined != tt.problem {
				t.Errorf("problems %q, want %q", joined, tt.problem)
			}
		})
	}
}

// TestBehaviorIsCompleteAsTheAPIServerCompletesIt holds the defaults against
// those of autoscaling/v2, so that comparing with the live HPA finds nothing.
func TestBehaviorIsCompleteAsTheAPIServerCompletesIt(t *testing.T) {
	up := autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: ptr.To[int32](0), SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
		Policies: []autoscalingv2.HPAScalingPolicy{{Type: "Pods", Value: 4, PeriodSeconds: 15}, {Type: "Percent", Value: 100, PeriodSeconds: 15}},
	}
	down := autoscalingv2.HPAScalingRules{
		SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
		Policies:     []autoscalingv2.HPAScalingPolicy{{Type: "Percent", Value: 100, PeriodSeconds: 15}},
	}
	disabled := func(r autoscalingv2.HPAScalingRules) *autoscalingv2.HPAScalingRules {
		r.SelectPolicy = ptr.To(autoscalingv2.DisabledPolicySelect)
		return &r
	}
	own := autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: ptr.To[int32](7), SelectPolicy: ptr.To(autoscalingv2.MinChangePolicySelect),
		Policies: []autoscalingv2.HPAScalingPolicy{{Type: "Pods", Value: 1, PeriodSeconds: 60}},
	}
	tests := map[string]struct {
		given       *autoscalingv2.HorizontalPodAutoscalerBehavior
		annotations map[string]string
		want        *autoscalingv2.HorizontalPodAutoscalerBehavior
	}{
		"none":  {},
		"empty": {given: &autoscalingv2.HorizontalPodAutoscalerBehavior{}, want: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &up, ScaleDown: &down}},
		"own": {
			given: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &own},
			want:  &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &own, ScaleDown: &down},
		},
		"in paused": {
			annotations: map[string]string{v1alpha1.AnnotationPausedScaleIn: "true"},
			want:        &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &up, ScaleDown: disabled(down)},
		},
		"out paused, own otherwise kept": {
			given:       &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &own},
			annotations: map[string]string{v1alpha1.AnnotationPausedScaleOut: ""},
			want:        &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: disabled(own), ScaleDown: &down},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Annotations: tt.annotations}}
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{Behavior: tt.given}}
			if have := scaling.Behavior(so); !apiequality.Semantic.DeepEqual(have, tt.want) {
				t.Errorf("behavior %+v, want %+v", have, tt.want)
			}
		})
	}
}

// hashes are what annotation sluice.dev/specs says when all triggers are served.
func hashes(so *v1alpha1.ScaledObject) string {
	all := make([]string, len(so.Spec.Triggers))
	for i, trigger := range so.Spec.Triggers {
		all[i] = trigger.Hash()
	}
	return strings.Join(all, ",")
}
