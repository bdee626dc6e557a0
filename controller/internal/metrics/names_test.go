package metrics

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// TestNamesThatChangeLeaveNoSeries has triggers that rename their metrics at each
// reading, of both kinds of object.
func TestNamesThatChangeLeaveNoSeries(t *testing.T) {
	errs, figures := NewErrors(nil), NewFigures(nil)
	jobs := Jobs{errs, figures}
	so, sj := object(), scaledJob()
	for i := range 1000 {
		for _, index := range []int{0, 2} {
			name := []string{fmt.Sprint("s", index, "-", i)}
			errs.Failed(so, index, name, int32(i%2))
			figures.Read(so, index, name, i < 500)
		}
		name := []string{fmt.Sprint("s0-", i)}
		jobs.Failed(sj, 0, name, int32(i%2))
		jobs.Read(sj, 0, name, true)
	}
	if n := testutil.CollectAndCount(errs, "keda_scaler_detail_errors_total"); n != 3 {
		t.Errorf("%d series of the errors of 3 triggers", n)
	}
	if n := testutil.CollectAndCount(figures, "keda_scaler_empty_upstream_responses_total"); n != 1 {
		t.Errorf("%d series of the one trigger whose metric is without data", n)
	}
}

// A trigger whose names are not known for a while keeps its series, and one that
// is named ends the series without a name.
func TestSeriesOfATriggerWhoseNamesAreNotKnown(t *testing.T) {
	e, so := NewErrors(nil), object()
	count := func(want ...string) {
		t.Helper()
		for _, metric := range want {
			if n := e.trigger.Of(ofObject(so).key(), 0, ofObject(so).labels(0, metric)...); n == 0 {
				t.Errorf("metric %q is not counted", metric)
			}
		}
		if n := testutil.CollectAndCount(e, "keda_scaler_detail_errors_total"); n != len(want) {
			t.Errorf("%d series, want %q", n, want)
		}
	}
	e.Failed(so, 0, nil, 1)
	count("")
	e.Failed(so, 0, []string{"s0-a"}, 1)
	count("s0-a")
	e.Failed(so, 0, nil, 0)
	count("s0-a")
	e.Failed(so, 0, nil, 1)
	count("", "s0-a")
}

// TestSeriesOfAnObjectAreBounded has as many triggers as an object may have, each
// with as many metrics as a family may name, and labels of any length.
func TestSeriesOfAnObjectAreBounded(t *testing.T) {
	so := object(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers = nil
		for i := range 100 {
			so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{
				Type: "kafka", Name: fmt.Sprint(strings.Repeat("é", 1000), i), // in every series
			})
		}
	})
	var state federation.State
	var names []string
	for i := range 100 {
		name := fmt.Sprint("metric-", i)
		names = append(names, name)
		state.Specs = append(state.Specs, federation.MetricSpec{Name: name, Target: 5})
		state.Values = append(state.Values, federation.Value{Metric: name, Value: 7})
	}
	state.Outcome = scaling.Value
	errs, figures := NewErrors(nil), NewFigures(nil)
	for i := range so.Spec.Triggers {
		mine := make([]string, len(names))
		for n, name := range names {
			mine[n] = scaling.MetricName(i, name)
		}
		errs.Failed(so, i, mine, 1)
		figures.Read(so, i, mine, true)
	}
	c := New(testcluster.New(t, "", nil, so).Client, func(federation.ID) (federation.State, bool) { return state, true }, "v1", leading, noFormula, nil)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(errs, figures, c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got, bytes := map[string]int{}, 0
	for _, family := range families {
		got[family.GetName()] = len(family.GetMetric())
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				bytes += len(l.GetValue())
			}
		}
	}
	for name, want := range map[string]int{
		"keda_scaler_metrics_value": 1000, "keda_scaler_active": 1000, "keda_scaler_metrics_latency_seconds": 1000,
		// These keep one for each trigger, so that no failure goes unseen.
		"keda_scaler_detail_errors_total": 1090, "keda_scaler_empty_upstream_responses_total": 1090,
	} {
		if got[name] != want {
			t.Errorf("%s: %d series of one object, want %d", name, got[name], want)
		}
	}
	if bytes > 2<<20 {
		t.Errorf("%d bytes of labels", bytes)
	}
}

func TestLongTypesAreOneLabel(t *testing.T) {
	so := object(func(so *v1alpha1.ScaledObject) {
		long := strings.Repeat("x", 60_000)
		so.Spec.Triggers = []v1alpha1.ScaleTrigger{{Type: long + "1"}, {Type: long + "2"}}
	})
	c := New(testcluster.New(t, "", nil, so).Client, states, "v1", leading, noFormula, nil)
	want := `
# HELP keda_trigger_registered_total Triggers by type.
# TYPE keda_trigger_registered_total gauge
keda_trigger_registered_total{type="` + strings.Repeat("x", mostOfLabel) + `"} 2
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "keda_trigger_registered_total"); err != nil {
		t.Error(err)
	}
}

// Of two verdicts about one metric the first counts, however many there are.
func TestVerdictsOfATenant(t *testing.T) {
	so := object(func(so *v1alpha1.ScaledObject) {
		for i := range 3 {
			so.Status.Fallback = append(so.Status.Fallback, v1alpha1.FallbackVerdict{Metric: "s0-lag", Replicas: ptr.To(int32(i + 2))})
		}
	})
	if replaced := inFallback(so); len(replaced) != 1 || replaced["s0-lag"] != 2 {
		t.Errorf("%v", replaced)
	}
}

// BenchmarkForget is about one of few, and of many objects.
func BenchmarkForget(b *testing.B) {
	for _, others := range []int{100, 10_000} {
		b.Run(fmt.Sprint(others, " objects"), func(b *testing.B) {
			errs, figures := NewErrors(nil), NewFigures(nil)
			fail := func(name string) {
				so := object()
				so.Name = name
				errs.Failed(so, 0, []string{"s0-a"}, 1)
				errs.Failed(so, 2, []string{"s2-b"}, 1)
				figures.Read(so, 0, []string{"s0-a"}, true)
			}
			for i := range others {
				fail(fmt.Sprint("other-", i))
			}
			mine := types.NamespacedName{Namespace: "shop", Name: "mine"}
			for b.Loop() {
				fail("mine")
				errs.ForgetTrigger(mine, 0)
				errs.Forget(mine)
				figures.Forget(mine)
			}
		})
	}
}
