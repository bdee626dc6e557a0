package metrics

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func object(change ...func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"},
		Spec:       v1alpha1.ScaledObjectSpec{Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka"}, {Type: "cpu"}, {Type: "kafka", Name: "bills"}}},
	}
	for _, c := range change {
		c(so)
	}
	return so
}

// states has readings of the first trigger alone, one of them twice.
func states(id federation.ID) (federation.State, bool) {
	if id.Index != 0 {
		return federation.State{}, id.Index == 1
	}
	return federation.State{Values: []federation.Value{
		{Metric: "kafka-orders", Value: 7, Active: true}, {Metric: "kafka-orders", Value: 8}, {Metric: "other", Value: 0.5},
	}, Specs: []federation.MetricSpec{{Name: "kafka-orders", Target: 5}}, Outcome: scaling.Value, Took: 250 * time.Millisecond}, true
}

func leading() bool { return true }

func noFormula(types.NamespacedName) *scaling.ExplainedFormula { return nil }

func TestSeries(t *testing.T) {
	paused := func(so *v1alpha1.ScaledObject) {
		so.Status.Conditions.Set(v1alpha1.Condition{Type: v1alpha1.ConditionPaused, Status: metav1.ConditionTrue})
	}
	composed := func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "bills"}}
	}
	tests := map[string]struct {
		object *v1alpha1.ScaledObject
		names  []string
		want   string
	}{
		"values": {object(), []string{"keda_scaler_metrics_value"}, `
# HELP keda_scaler_metrics_value Last value of a metric, in its own unit.
# TYPE keda_scaler_metrics_value gauge
keda_scaler_metrics_value{metric="s0-kafka-orders",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 7
keda_scaler_metrics_value{metric="s0-other",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 0.5
`},
		"latency": {object(), []string{"keda_scaler_metrics_latency_seconds"}, `
# HELP keda_scaler_metrics_latency_seconds How long the last reading of a metric took.
# TYPE keda_scaler_metrics_latency_seconds gauge
keda_scaler_metrics_latency_seconds{metric="s0-kafka-orders",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 0.25
`},
		"activity, cpu always": {object(), []string{"keda_scaler_active"}, `
# HELP keda_scaler_active 1 while the metric asks for at least one replica.
# TYPE keda_scaler_active gauge
keda_scaler_active{metric="cpu",namespace="shop",scaledObject="worker",scaler="cpuMemoryScaler",triggerIndex="1",type="scaledobject"} 1
keda_scaler_active{metric="s0-kafka-orders",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 1
keda_scaler_active{metric="s0-other",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 0
`},
		"a formula knows no cpu": {object(composed), []string{"keda_scaler_active"}, `
# HELP keda_scaler_active 1 while the metric asks for at least one replica.
# TYPE keda_scaler_active gauge
keda_scaler_active{metric="s0-kafka-orders",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 1
keda_scaler_active{metric="s0-other",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 0
`},
		"objects": {object(paused), []string{"keda_scaled_object_paused", "keda_trigger_registered_total", "keda_resource_registered_total"}, `
# HELP keda_resource_registered_total Objects by kind and namespace.
# TYPE keda_resource_registered_total gauge
keda_resource_registered_total{namespace="shop",type="scaled_object"} 1
# HELP keda_scaled_object_paused 1 while scaling is paused, in part or altogether.
# TYPE keda_scaled_object_paused gauge
keda_scaled_object_paused{namespace="shop",scaledObject="worker"} 1
# HELP keda_trigger_registered_total Triggers by type.
# TYPE keda_trigger_registered_total gauge
keda_trigger_registered_total{type="cpu"} 1
keda_trigger_registered_total{type="kafka"} 2
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := New(testcluster.New(t, "", nil, tt.object).Client, states, "v1", leading, noFormula, nil)
			if err := testutil.CollectAndCompare(c, strings.NewReader(tt.want), tt.names...); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOtherKindsAreCounted(t *testing.T) {
	login := &v1alpha1.TriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "login"}}
	everywhere := &v1alpha1.ClusterTriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Name: "login"}}
	c := New(testcluster.New(t, "", nil, login, everywhere).Client, states, "v1", leading, noFormula, nil)
	want := `
# HELP keda_resource_registered_total Objects by kind and namespace.
# TYPE keda_resource_registered_total gauge
keda_resource_registered_total{namespace="default",type="cluster_trigger_authentication"} 1
keda_resource_registered_total{namespace="shop",type="trigger_authentication"} 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "keda_resource_registered_total"); err != nil {
		t.Error(err)
	}
}

func TestSeriesOfAFormula(t *testing.T) {
	formula := func(key types.NamespacedName) *scaling.ExplainedFormula {
		if key.Name != "worker" {
			return nil
		}
		return &scaling.ExplainedFormula{Value: 84, Active: true}
	}
	none := func(federation.ID) (federation.State, bool) { return federation.State{}, false }
	so := object(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers = so.Spec.Triggers[:1]
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "bills"}}
	})
	c := New(testcluster.New(t, "", nil, so).Client, none, "v1", leading, formula, nil)
	want := `
# HELP keda_scaler_active 1 while the metric asks for at least one replica.
# TYPE keda_scaler_active gauge
keda_scaler_active{metric="composite-metric",namespace="shop",scaledObject="worker",scaler="composite-metric",triggerIndex="0",type="scaledobject"} 1
# HELP keda_scaler_metrics_value Last value of a metric, in its own unit.
# TYPE keda_scaler_metrics_value gauge
keda_scaler_metrics_value{metric="composite-metric",namespace="shop",scaledObject="worker",scaler="composite-metric",triggerIndex="0",type="scaledobject"} 84
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "keda_scaler_active", "keda_scaler_metrics_value"); err != nil {
		t.Error(err)
	}
}

func TestValueAfterFallback(t *testing.T) {
	failing := func(id federation.ID) (federation.State, bool) {
		return federation.State{Specs: []federation.MetricSpec{{Name: "kafka-orders", Target: 5}}, Outcome: scaling.Failed}, id.Index == 0
	}
	so := object(func(so *v1alpha1.ScaledObject) {
		so.Status.Fallback = []v1alpha1.FallbackVerdict{{Metric: "s0-kafka-orders", Replicas: ptr.To[int32](6)}}
	})
	c := New(testcluster.New(t, "", nil, so).Client, failing, "v1", leading, noFormula, nil)
	want := `
# HELP keda_scaler_metrics_value Last value of a metric, in its own unit.
# TYPE keda_scaler_metrics_value gauge
keda_scaler_metrics_value{metric="s0-kafka-orders",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 30
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "keda_scaler_metrics_value"); err != nil {
		t.Error(err)
	}
}

func TestFigures(t *testing.T) {
	f := NewFigures(nil)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(f)
	so := object(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Metadata = map[string]string{"ignoreNullValues": "false"}
	})
	f.Decided(so, 250*time.Millisecond)
	f.Read(so, 0, []string{"s0-a"}, true)
	f.Read(so, 0, []string{"s0-a"}, false)
	f.Read(so, 2, []string{"s2-b"}, true)
	want := `
# HELP keda_internal_scale_loop_latency_seconds How late the last decision about an object was: since the reading that it followed from.
# TYPE keda_internal_scale_loop_latency_seconds gauge
keda_internal_scale_loop_latency_seconds{namespace="shop",resource="worker",type="scaledobject"} 0.25
# HELP keda_scaler_empty_upstream_responses_total Readings in which the source answered but had nothing to say.
# TYPE keda_scaler_empty_upstream_responses_total counter
keda_scaler_empty_upstream_responses_total{ignoreNullValues="false",metricName="s0-a",namespace="shop",resourceType="scaledobject",scaledResource="worker",triggerName="kafkaScaler"} 1
keda_scaler_empty_upstream_responses_total{ignoreNullValues="true",metricName="s2-b",namespace="shop",resourceType="scaledobject",scaledResource="worker",triggerName="bills"} 1
# HELP sluice_hpa_nudges_total HPAs that were made to look at their metrics at once, because what was read asks for more replicas.
# TYPE sluice_hpa_nudges_total counter
sluice_hpa_nudges_total 1
`
	f.Nudged()
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	key := types.NamespacedName{Namespace: "shop", Name: "worker"}
	f.ForgetTrigger(key, 2)
	if n := testutil.CollectAndCount(f); n != 3 {
		t.Errorf("%d series after a trigger went", n)
	}
	f.Forget(key)
	if n := testutil.CollectAndCount(f); n != 1 {
		t.Errorf("%d series after the object went", n)
	}
	f.Woken("kafka", 300*time.Millisecond)
	if n := testutil.CollectAndCount(f, "sluice_event_to_replicas_seconds"); n != 1 {
		t.Errorf("%d histograms", n)
	}
}

// TestWakesAreJudgedByTheirObjective, where there is one; where the source does not
// tell when work arrived, nobody can.
func TestWakesAreJudgedByTheirObjective(t *testing.T) {
	const of = `{namespace="shop",objective=`
	f := NewFigures(nil)
	with := object(func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{v1alpha1.AnnotationWakeObjective: "2s"}
	})
	tells := func(text string) {
		t.Helper()
		want := ""
		if text != "" {
			want = "# HELP sluice_scaled_object_wakes_total Rises from rest of objects with an objective: whether replicas were written in time, counted from the arrival of work.\n" +
				"# TYPE sluice_scaled_object_wakes_total counter\n" + strings.ReplaceAll(text, "(", "sluice_scaled_object_wakes_total"+of+`"`)
		}
		want = strings.ReplaceAll(want, ")", `",scaledObject="worker"}`)
		if err := testutil.CollectAndCompare(f, strings.NewReader(want), "sluice_scaled_object_wakes_total"); err != nil {
			t.Error(err)
		}
	}
	f.Objective(object())
	f.Woke(object(), time.Hour, true)
	tells("")
	f.Objective(with)
	tells("(met) 0\n(missed) 0\n(unknown) 0\n")
	for _, after := range []time.Duration{0, 2 * time.Second, 2*time.Second + 1, time.Hour} {
		f.Woke(with, after, true)
	}
	f.Woke(with, 0, false)
	f.Objective(with)
	tells("(met) 2\n(missed) 2\n(unknown) 1\n")
	f.Objective(object())
	tells("")
	f.Started(with, 3*time.Second)
	f.Forget(types.NamespacedName{Namespace: "shop", Name: "worker"})
	if n := testutil.CollectAndCount(f, "sluice_scaled_object_cold_start_seconds"); n != 0 {
		t.Errorf("%d cold starts of an object that is gone", n)
	}
}

func TestObjectiveIsTold(t *testing.T) {
	for text, want := range map[string]int{"2s": 1, "soon": 0, "0s": 0, "": 0} {
		so := object(func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationWakeObjective: text}
		})
		c := New(testcluster.New(t, "", nil, so).Client, states, "v1", leading, noFormula, nil)
		if n := testutil.CollectAndCount(c, "sluice_scaled_object_wake_objective_seconds"); n != want {
			t.Errorf("%q: %d series", text, n)
		}
	}
}

func TestSeriesEndWithTheObject(t *testing.T) {
	cluster := testcluster.New(t, "", nil, object())
	c := New(cluster.Client, states, "v1", leading, noFormula, nil)
	if err := cluster.Direct.Delete(t.Context(), object()); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(c); n != 1 { // the build's
		t.Errorf("%d series", n)
	}
}

func TestStandbysTellOfNoObject(t *testing.T) {
	c := New(testcluster.New(t, "", nil, object()).Client, states, "v1", func() bool { return false }, noFormula, nil)
	want := `
# HELP keda_build_info Always 1; labels tell the build.
# TYPE keda_build_info gauge
keda_build_info{git_commit="` + Commit + `",goarch="` + runtime.GOARCH + `",goos="` + runtime.GOOS + `",goversion="` + runtime.Version() + `",version="v1"} 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	e := NewErrors(nil)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(e)
	so := object()
	e.Failed(so, 0, []string{"s0-a", "s0-b"}, 1)
	e.Failed(so, 0, []string{"s0-a", "s0-b"}, 0)
	e.Failed(so, 2, nil, 2)
	e.Failed(so, 2, nil, 0)
	want := `
# HELP keda_scaled_object_errors_total Failures of an object's triggers.
# TYPE keda_scaled_object_errors_total counter
keda_scaled_object_errors_total{namespace="shop",scaledObject="worker"} 3
# HELP keda_scaler_detail_errors_total Failures of a trigger, at most one per polling interval.
# TYPE keda_scaler_detail_errors_total counter
keda_scaler_detail_errors_total{metric="",namespace="shop",scaledObject="worker",scaler="bills",triggerIndex="2",type="scaledobject"} 2
keda_scaler_detail_errors_total{metric="s0-a",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 1
keda_scaler_detail_errors_total{metric="s0-b",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	key := types.NamespacedName{Namespace: "shop", Name: "worker"}
	e.ForgetTrigger(key, 0)
	if n := testutil.CollectAndCount(e); n != 2 {
		t.Errorf("%d series after a trigger went", n)
	}
	e.Forget(key)
	if n := testutil.CollectAndCount(e); n != 0 {
		t.Errorf("%d series after the object went", n)
	}
}

func TestScalerLabels(t *testing.T) {
	for triggerType, want := range map[string]string{
		"kafka": "kafkaScaler", "gcp-pubsub": "pubsubScaler", "redis-cluster-streams": "redisStreamsScaler", "of-our-own": "of-our-own",
	} {
		if have := scalerLabel(triggerType); have != want {
			t.Errorf("%s: %s, want %s", triggerType, have, want)
		}
	}
}

// One object must not take the series of all with it, whatever is known of it:
// of two with the same labels, one is told.
func TestNoSeriesIsThereTwice(t *testing.T) {
	last := func(id federation.ID) (federation.State, bool) {
		return federation.State{
			Outcome: scaling.Value, Unreachable: errors.New("Service scaler-kafka has no ready instance"),
			Values: []federation.Value{{Metric: "lag", Value: 7}, {Metric: "lag", Value: 8}, {Metric: "\xff"}, {Metric: "\xfe"}},
			Specs:  []federation.MetricSpec{{Name: "lag", Target: 5}, {Name: "lag", Target: 6}, {Name: "\xff"}},
		}, true
	}
	so := object(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers = append(so.Spec.Triggers, so.Spec.Triggers...)
		for _, metric := range []string{"s0-lag", "s0-lag", "s2-lag"} {
			so.Status.Fallback = append(so.Status.Fallback, v1alpha1.FallbackVerdict{Metric: metric, Replicas: ptr.To[int32](6)})
		}
	})
	formula := func(types.NamespacedName) *scaling.ExplainedFormula { return &scaling.ExplainedFormula{Value: 84} }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(New(testcluster.New(t, "", nil, so, scaledJob()).Client, last, "v\xff", leading, formula, nil))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
	want := `
# HELP keda_scaler_metrics_value Last value of a metric, in its own unit.
# TYPE keda_scaler_metrics_value gauge
keda_scaler_metrics_value{metric="s0-lag",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 30
`
	so.Spec.Triggers = so.Spec.Triggers[:1]
	down := func(id federation.ID) (federation.State, bool) {
		state, _ := last(id)
		state.Values, state.Specs = state.Values[:1], state.Specs[:1]
		return state, true
	}
	c := New(testcluster.New(t, "", nil, so).Client, down, "v1", leading, noFormula, nil)
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "keda_scaler_metrics_value"); err != nil {
		t.Error(err)
	}
}
