package e2e

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// TestPodsOfAnotherScale follows the Pods of a Deployment, once the namespace
// is granted; without that it says what to do.
func TestPodsOfAnotherScale(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	orders := object{t, ns, "orders"}
	orders.deployment(0)
	s := quick(brokers.Trigger{Type: "kubernetes-workload", Metadata: map[string]string{"podSelector": "app=orders", "value": "2"}})
	s["pollingInterval"] = 1
	worker := scale(t, ns, "worker", 0, s)
	worker.waitCondition("Ready", "False", "kubectl create rolebinding sluice-scaler-kubernetes --namespace="+ns+
		" --clusterrole=sluice-scaler-kubernetes --serviceaccount=sluice-system:scaler-kubernetes")
	grant(t, ns, "kubernetes", "sluice-scaler-kubernetes")
	worker.waitCondition("Ready", "True", "")
	for _, step := range []struct{ orders, workers int32 }{{6, 3}, {0, 0}} {
		deployment := &appsv1.Deployment{}
		if err := world.cluster.Client().Get(t.Context(), orders.key(), deployment); err != nil {
			t.Fatal(err)
		}
		deployment.Spec.Replicas = &step.orders
		if err := world.cluster.Client().Update(t.Context(), deployment); err != nil {
			t.Fatal(err)
		}
		worker.waitReplicas(step.workers)
	}
}

// TestResourcesScale follows a number in a ConfigMap, which is watched, and one
// in a Secret, which the family may read by name alone.
func TestResourcesScale(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	grant(t, ns, "kubernetes", "sluice-scaler-kubernetes")
	meta := metav1.ObjectMeta{Namespace: ns, Name: "demand"}
	put := func(inConfigMap, inSecret string) {
		t.Helper()
		for _, object := range []client.Object{
			&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"jobs": inConfigMap}},
			&corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"jobs": inSecret}},
		} {
			err := world.cluster.Client().Update(t.Context(), object)
			if apierrors.IsNotFound(err) {
				err = world.cluster.Client().Create(t.Context(), object)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put("0", `{"waiting": 0}`)
	s := quick(
		brokers.Trigger{Type: "kubernetes-resource", Metadata: map[string]string{
			"resourceKind": "ConfigMap", "resourceName": "demand", "key": "jobs", "targetValue": "2"}},
		brokers.Trigger{Type: "kubernetes-resource", Metadata: map[string]string{
			"resourceKind": "Secret", "resourceName": "demand", "key": "jobs", "targetValue": "2",
			"format": "json", "valueLocation": "waiting"}},
	)
	s["pollingInterval"] = 1
	o := scale(t, ns, "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	put("8", `{"waiting": 2}`)
	o.waitReplicas(4)
	put("8", `{"waiting": 12}`)
	o.waitReplicas(6)
	put("0", `{"waiting": 0}`)
	o.waitReplicas(0)
}
