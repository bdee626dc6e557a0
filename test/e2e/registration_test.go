package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestFaultRegistrationGone takes the APIService of external metrics away, as
// deleting KEDA's manifests does: HPAs are told nothing, and Sluice says so, in
// Ready of its objects, an event and a metric, without touching a replica.
func TestFaultRegistrationGone(t *testing.T) {
	ns := namespace(t)
	o := bystander(t, ns, "worker")
	registered := func() *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion("apiregistration.k8s.io/v1")
		u.SetKind("APIService")
		u.SetName("v1beta1.external.metrics.k8s.io")
		return u
	}
	before := registered()
	if err := world.cluster.Client().Get(t.Context(), client.ObjectKeyFromObject(before), before); err != nil {
		t.Fatal(err)
	}
	check := onlyChanged(t)
	if err := world.cluster.Client().Delete(t.Context(), registered()); err != nil {
		t.Fatal(err)
	}
	back := func() error {
		again := registered()
		again.SetLabels(before.GetLabels())
		again.Object["spec"] = before.Object["spec"]
		return world.cluster.Client().Create(context.WithoutCancel(t.Context()), again)
	}
	t.Cleanup(func() {
		if err := client.IgnoreAlreadyExists(back()); err != nil {
			t.Error(err)
		}
	})
	o.waitCondition("Ready", "False", "APIService v1beta1.external.metrics.k8s.io is gone")
	wait(t, "the event", func() (bool, string) {
		var all eventsv1.EventList
		if err := world.cluster.Client().List(t.Context(), &all, client.InNamespace("default")); err != nil {
			return false, err.Error()
		}
		for _, e := range all.Items {
			if e.Reason == "SluiceNotAsked" && e.Regarding.Name == before.GetName() {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(all.Items), " others")
	})
	wait(t, "the metric", func() (bool, string) {
		families, err := world.cluster.InstanceMetrics(t.Context(), leader(t), "metrics")
		if err != nil {
			return false, err.Error()
		}
		for _, m := range families["sluice_registered"].GetMetric() {
			if _, values := labelsOf(m); strings.Join(values, "") == "metrics" {
				return m.GetGauge().GetValue() == 0, m.String()
			}
		}
		return false, "no such series"
	})
	if err := back(); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "True", "")
	check()
}
