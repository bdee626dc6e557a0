package metrics

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Objects of one namespace with as many metrics as they may have fill no scrape: it
// tells of some of them, of those of others as ever, and of whom it does not.
func TestSeriesOfANamespaceAreBounded(t *testing.T) {
	before := ofCollector
	t.Cleanup(func() { ofCollector = before })
	ofCollector = series.Budget{OfOne: 2000, InAll: 3000}
	var objects []client.Object
	add := func(namespace string, i int) {
		objects = append(objects, object(func(so *v1alpha1.ScaledObject) {
			so.Namespace, so.Name = namespace, fmt.Sprint("worker-", i)
			so.Spec.Triggers = so.Spec.Triggers[:1]
			so.Spec.Triggers[0].Type = fmt.Sprint("made-up-", i)
		}))
	}
	for i := range 3 * mostTypesOfOne {
		add("flood", i)
	}
	add("shop", 0)
	var state federation.State
	for i := range v1alpha1.MostMetricsOfTrigger {
		name := fmt.Sprint("m", i)
		state.Specs = append(state.Specs, federation.MetricSpec{Name: name, Target: 1})
		state.Values = append(state.Values, federation.Value{Metric: name, Value: 1})
	}
	state.Outcome = scaling.Value
	var log bytes.Buffer
	out := LeftOut(slog.New(slog.NewTextHandler(&log, nil)))
	c := New(testcluster.New(t, "", nil, objects...).Client, func(federation.ID) (federation.State, bool) { return state, true }, "v1", leading, noFormula, out)
	made := 0
	of := map[string]int{}
	types := 0
	all := make(chan prometheus.Metric)
	go func() { defer close(all); c.Collect(all) }()
	for m := range all {
		made++
		for _, namespace := range []string{"flood", "shop"} {
			if text := labelsOf(t, m); strings.Contains(text, `name:"scaledObject"`) && strings.Contains(text, namespace) {
				of[namespace]++
			}
		}
		if strings.Contains(m.Desc().String(), "keda_trigger_registered_total") {
			types++
		}
	}
	if of["flood"] != 2000 || of["shop"] != 301 || made > 2500 || types > mostTypesOfOne+1 {
		t.Errorf("%d series are made, %v, and %d of types", made, of, types)
	}
	told := make(chan prometheus.Metric, 2)
	out.Collect(told)
	if len(told) != 1 || !strings.Contains(labelsOf(t, <-told), "flood") || !strings.Contains(log.String(), "namespace=flood") {
		t.Errorf("%d namespaces are told of, and in the log %q", len(told), log.String())
	}
}

func labelsOf(t *testing.T, m prometheus.Metric) string {
	t.Helper()
	var text dto.Metric
	if err := m.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
