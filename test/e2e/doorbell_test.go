package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestDoorbells rings when there is nothing to do, rings again and again, and
// does not ring at all: what is decided is what was read, every time.
func TestDoorbells(t *testing.T) {
	t.Parallel()
	const threshold = 40
	t.Run("rings without enough work start nothing", func(t *testing.T) {
		t.Parallel()
		topic := kafkaTopic(t, "rings")
		trigger := topic.Trigger(5)
		trigger.Metadata["activationLagThreshold"] = "40"
		o := scale(t, namespace(t), "worker", 0, quick(trigger))
		o.waitCondition("Active", "False", "")
		// Each message is a ring of its own, and none is work.
		for range threshold {
			if err := topic.Produce(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		o.wait("the rings to be answered", func() (bool, string) {
			value, err := o.metricValue()
			return err == nil && value == threshold, fmt.Sprintf("a lag of %v, error %v", value, err)
		})
		if have := o.replicas(); have != 0 {
			t.Fatalf("%d replicas for %d messages, the threshold is %d", have, threshold, threshold)
		}
		if err := topic.Produce(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(9)
		// The record that rang tells when it was made.
		waitMeasured(t, "kafka")
	})
	t.Run("without rings the poll finds the work", func(t *testing.T) {
		t.Parallel()
		topic := kafkaTopic(t, "silent")
		s := quick(topic.Trigger(5))
		s["pollingInterval"] = 1
		o := scale(t, namespace(t), "worker", 0, s)
		o.annotate(`{"metadata": {"annotations": {"sluice.dev/doorbell": "off"}}}`)
		o.waitCondition("Active", "False", "")
		if err := topic.Produce(t.Context(), 20); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(4)
	})
}

// askMetric asks the metrics API as the HPA does.
func (o object) askMetric(name string) ([]byte, error) {
	o.t.Helper()
	clientset, err := kubernetes.NewForConfig(world.cluster.Config())
	if err != nil {
		o.t.Fatal(err)
	}
	return clientset.RESTClient().Get().
		AbsPath("/apis/external.metrics.k8s.io/v1beta1/namespaces", o.namespace, name).
		Param("labelSelector", "scaledobject.keda.sh/name="+o.name).DoRaw(o.t.Context())
}

// waitMeasured waits until a controller has measured how long work for a
// trigger type waited for replicas.
func waitMeasured(t *testing.T, triggerType string) {
	t.Helper()
	wait(t, "sluice_event_to_replicas_seconds of "+triggerType, func() (bool, string) {
		for _, i := range world.cluster.Instances("controller") {
			metrics, err := world.cluster.InstanceMetrics(t.Context(), i, "metrics")
			if err != nil {
				continue // it may be on its way out
			}
			for _, m := range metrics["sluice_event_to_replicas_seconds"].GetMetric() {
				if m.GetLabel()[0].GetValue() == triggerType && m.GetHistogram().GetSampleCount() > 0 {
					return true, ""
				}
			}
		}
		return false, "no sample"
	})
}

// annotate merges a patch into the ScaledObject.
func (o object) annotate(patch string) {
	o.t.Helper()
	err := world.cluster.Client().Patch(o.t.Context(), o.scaledObject(), client.RawPatch(types.MergePatchType, []byte(patch)))
	if err != nil {
		o.t.Fatal(err)
	}
}

// metricValue reads the object's only metric as the HPA would: an answer may be
// an error, as when the machine is too busy to answer within the HPA's time.
func (o object) metricValue() (float64, error) {
	o.t.Helper()
	answer, err := o.askMetric(metricNames(o.hpa())[0])
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, answer)
	}
	var list struct {
		Items []struct {
			Value resource.Quantity `json:"value"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return 0, err
	}
	if len(list.Items) != 1 {
		return 0, fmt.Errorf("not one value: %s", answer)
	}
	return list.Items[0].Value.AsApproximateFloat64(), nil
}
