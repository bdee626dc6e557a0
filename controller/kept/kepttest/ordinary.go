// Package kepttest has objects for tests of what is kept of them.
package kepttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Ordinary are an object as users have them and its HPA, as they come from the API
// server.
func Ordinary(t testing.TB, namespace string, i int) (*v1alpha1.ScaledObject, *autoscalingv2.HorizontalPodAutoscaler) {
	t.Helper()
	spec := fmt.Sprintf(`{"scaleTargetRef":{"name":"worker-%d"},"minReplicaCount":0,"maxReplicaCount":20,"cooldownPeriod":120,
		"advanced":{"horizontalPodAutoscalerConfig":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":300,"policies":[{"type":"Percent","value":50,"periodSeconds":60}]}}}},
		"triggers":[{"type":"kafka","metadata":{"bootstrapServers":"kafka-0.kafka.svc:9092,kafka-1.kafka.svc:9092","consumerGroup":"worker-%d","topic":"orders-%d","lagThreshold":"50"},"authenticationRef":{"name":"kafka-login"}}]}`, i, i, i)
	applied, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	metadata := fmt.Sprintf(`"name":"%%sworker-%d","namespace":%q,"uid":"%036d","resourceVersion":"%010d","generation":3,"creationTimestamp":"2026-05-01T12:00:00Z",
		"labels":{"app.kubernetes.io/name":"worker-%d","app.kubernetes.io/part-of":"orders","team":"checkout","scaledobject.keda.sh/name":"worker-%d"},
		"annotations":{"kubectl.kubernetes.io/last-applied-configuration":%s,"team":"checkout"%%s},
		"managedFields":[{"manager":"kubectl","operation":"Update","apiVersion":"keda.sh/v1alpha1","time":"2026-05-01T12:00:00Z","fieldsType":"FieldsV1","fieldsV1":{}}]`, i, namespace, i, i, i, i, applied)
	condition := func(kind, status, reason, message string) string {
		return fmt.Sprintf(`{"type":%q,"status":%q,"reason":%q,"message":%q,"lastTransitionTime":"2026-05-01T12:00:00Z"}`, kind, status, reason, message)
	}
	var decisions []string
	for n := range 5 {
		decisions = append(decisions, fmt.Sprintf(`{"time":"2026-05-01T12:%02d:00.000000Z","message":"%d to %d replicas: s0-kafka-orders-%d 120 at 50 asks for 3; next: the HPA, at its next sync"}`, n, n, n+1, i))
	}
	status := fmt.Sprintf(`{"scaleTargetKind":"apps/v1.Deployment","scaleTargetGVKR":{"group":"apps","version":"v1","kind":"Deployment","resource":"deployments"},
		"originalReplicaCount":1,"lastActiveTime":"2026-05-01T12:00:00Z","externalMetricNames":["s0-kafka-orders-%d"],"hpaName":"keda-hpa-worker-%d",
		"triggersTypes":"kafka","authenticationsTypes":"kafka-login","triggersActivity":{"s0-kafka-orders-%d":{"isActive":true}},"decisions":[%s],
		"conditions":[%s]}`, i, i, i, strings.Join(decisions, ","), strings.Join([]string{
		condition("Ready", "True", "ScaledObjectReady", "ScaledObject is defined correctly and is ready for scaling"),
		condition("Active", "True", "ScalerActive", "Scaling is performed because triggers are active"),
		condition("Fallback", "False", "NoFallbackFound", "No fallbacks are active on this scaled object"),
		condition("Paused", "False", "", ""), condition("HPAActive", "True", "HPAActive", "the HPA is scaling"),
	}, ","))
	metric := func(name string) string {
		return fmt.Sprintf(`{"type":"External","external":{"metric":{"name":%q,"selector":{"matchLabels":{"scaledobject.keda.sh/name":"worker-%d"}}},%%s}}`, name, i)
	}
	names := []string{metric(fmt.Sprint("s0-kafka-orders-", i))}
	target := func(what, value string) string {
		return strings.ReplaceAll(strings.Join(names, ","), "%s", fmt.Sprintf(`%q:{"type":"AverageValue","averageValue":%q}`, what, value))
	}
	so, hpa := &v1alpha1.ScaledObject{}, &autoscalingv2.HorizontalPodAutoscaler{}
	for into, text := range map[any]string{
		so: fmt.Sprintf(`{"metadata":{%s},"spec":%s,"status":%s}`, fmt.Sprintf(metadata, "", ""), spec, status),
		hpa: fmt.Sprintf(`{"metadata":{%s,"ownerReferences":[{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","name":"worker-%d","uid":"%036d","controller":true,"blockOwnerDeletion":true}]},
			"spec":{"scaleTargetRef":{"kind":"Deployment","name":"worker-%d","apiVersion":"apps/v1"},"minReplicas":1,"maxReplicas":20,"metrics":[%s],
				"behavior":{"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max","policies":[{"type":"Pods","value":4,"periodSeconds":15},{"type":"Percent","value":100,"periodSeconds":15}]},
				"scaleDown":{"stabilizationWindowSeconds":300,"selectPolicy":"Max","policies":[{"type":"Percent","value":50,"periodSeconds":60}]}}},
			"status":{"currentReplicas":2,"desiredReplicas":3,"currentMetrics":[%s],"conditions":[%s]}}`,
			fmt.Sprintf(metadata, "keda-hpa-", `,"sluice.dev/trigger-specs":"620d34bf53,7c23bc6c93"`), i, i, i, target("target", "50"), target("current", "60"),
			condition("ScalingActive", "True", "ValidMetricFound", "the HPA was able to successfully calculate a replica count from external metric s0-kafka-orders")),
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	return so, hpa
}

// Deployment is a workload as users have them.
func Deployment(namespace string, i int) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("worker-", i)}}
	container := corev1.Container{Name: "worker", Image: "worker:1"}
	for n := range 20 {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", n), Value: "a value of some length"})
	}
	d.Spec.Template.Spec.Containers = []corev1.Container{container}
	return d
}
