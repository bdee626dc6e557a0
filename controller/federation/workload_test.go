package federation

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestStripWorkload(t *testing.T) {
	meta := metav1.ObjectMeta{
		Name: "worker", Namespace: "shop", UID: "1", ResourceVersion: "5", Generation: 2,
		Labels:        map[string]string{"app": "worker"},
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}
	container := corev1.Container{
		Name:    "app",
		Env:     []corev1.EnvVar{{Name: "URL", Value: "amqp://localhost"}},
		EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		},
	}
	full := container
	full.Image, full.Args, full.ReadinessProbe = "worker:1", []string{"--serve"}, &corev1.Probe{}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "worker"}}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "worker"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "worker", Containers: []corev1.Container{full}, Volumes: []corev1.Volume{{Name: "data"}},
		},
	}
	keptMeta := metav1.ObjectMeta{Name: "worker", Namespace: "shop", UID: "1", ResourceVersion: "5", Generation: 2}
	kept := corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: "worker", Containers: []corev1.Container{container}}}
	for name, tt := range map[string]struct{ whole, want client.Object }{
		"Deployment": {
			&appsv1.Deployment{
				ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: selector, Template: template},
				Status: appsv1.DeploymentStatus{Replicas: 3},
			},
			&appsv1.Deployment{ObjectMeta: keptMeta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Template: kept}},
		},
		"StatefulSet": {
			&appsv1.StatefulSet{
				ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: "worker"},
				Status: appsv1.StatefulSetStatus{Replicas: 3},
			},
			&appsv1.StatefulSet{ObjectMeta: keptMeta, Spec: appsv1.StatefulSetSpec{Template: kept}},
		},
		"ReplicaSet": {
			&appsv1.ReplicaSet{
				ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Selector: selector, Template: template},
				Status: appsv1.ReplicaSetStatus{Replicas: 3},
			},
			&appsv1.ReplicaSet{ObjectMeta: keptMeta, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Template: kept}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := StripWorkload(tt.whole)
			if err != nil || !apiequality.Semantic.DeepEqual(got, tt.want) {
				t.Errorf("kept %+v, %v", got, err)
			}
		})
	}
	last := cache.DeletedFinalStateUnknown{Key: "shop/worker"}
	if got, err := StripWorkload(last); err != nil || got != last {
		t.Errorf("of one deleted unseen: %v, %v", got, err)
	}
}

// Objects of tenants in the cache are many times as large as the API server's
// bound of them. What nobody has is not kept, and triggers that need it say so.
func TestLargeWorkloadsAreNotKept(t *testing.T) {
	for name, template := range map[string]corev1.PodSpec{
		"containers": {Containers: make([]corev1.Container, mostContainers+1)},
		"variables":  {Containers: []corev1.Container{{Env: make([]corev1.EnvVar, 10_000)}}},
		"sources":    {Containers: []corev1.Container{{EnvFrom: make([]corev1.EnvFromSource, 10_000)}}},
		"texts":      {Containers: []corev1.Container{{Env: []corev1.EnvVar{{Value: strings.Repeat("x", mostOfContainers)}}}}},
	} {
		deployment := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Template: corev1.PodTemplateSpec{Spec: template}}}
		if _, err := StripWorkload(deployment); err != nil {
			t.Fatal(err)
		}
		replicas, kept := ReadWorkload(deployment)
		if replicas != 3 || len(kept.Spec.Containers) > 0 || Cut(deployment) == nil {
			t.Errorf("%s: %d replicas, %d containers, %v", name, replicas, len(kept.Spec.Containers), Cut(deployment))
		}
	}
	resources := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	for i := range 1000 {
		resources[corev1.ResourceName(fmt.Sprintf("example.org/%d", i))] = resource.MustParse("1")
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationCut: ""}}}
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: resources}}}
	if _, err := StripWorkload(deployment); err != nil || Cut(deployment) != nil || len(deployment.Spec.Template.Spec.Containers[0].Resources.Requests) != 1 {
		t.Errorf("of a container's resources is kept %v, %v", deployment.Spec.Template.Spec.Containers, Cut(deployment))
	}
}

func TestOfOtherKindsOnlyTheWorkloadIsKept(t *testing.T) {
	of := func(image string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.org/v1", "kind": "Crew",
			"metadata": map[string]any{"name": "worker", "namespace": "shop", "uid": "1", "resourceVersion": "5", "generation": int64(2),
				"annotations": map[string]any{"note": strings.Repeat("x", 1000)}},
			"spec": map[string]any{"replicas": int64(3), "other": strings.Repeat("x", 1000),
				"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": image}}}}},
			"status": map[string]any{"other": strings.Repeat("x", 1000)},
		}}
	}
	for image, fits := range map[string]bool{"worker:1": true, strings.Repeat("x", mostOfOthers): false} {
		whole := of(image)
		got, err := StripOthers(whole)
		if err != nil {
			t.Fatal(err)
		}
		kept := got.(*unstructured.Unstructured)
		replicas, _, _ := unstructured.NestedInt64(kept.Object, "spec", "replicas")
		if replicas != 3 || kept.GetResourceVersion() != "5" || kept.GetGeneration() != 2 || kept.GetKind() != "Crew" || kept.GetUID() != "1" {
			t.Errorf("kept %.300v", kept)
		}
		if text, err := json.Marshal(kept); err != nil || len(text) > 500 {
			t.Errorf("%d bytes are kept, %v", len(text), err)
		}
		if (TemplateOf(kept) != nil) != fits || (Cut(kept) == nil) != fits {
			t.Errorf("fits %v: template %v, %v", fits, TemplateOf(kept) != nil, Cut(kept))
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{}}}}
	if got, err := StripOthers(service); err != nil || len(got.(*corev1.Service).ManagedFields) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
