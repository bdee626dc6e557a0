package federation

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
