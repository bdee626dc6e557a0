package federation

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewWorkload returns an empty object of a kind, to be read through a cache, and
// nil for kinds that are not in apps/v1.
func NewWorkload(kind schema.GroupVersionKind) client.Object {
	switch kind {
	case appsv1.SchemeGroupVersion.WithKind("Deployment"):
		return &appsv1.Deployment{}
	case appsv1.SchemeGroupVersion.WithKind("StatefulSet"):
		return &appsv1.StatefulSet{}
	case appsv1.SchemeGroupVersion.WithKind("ReplicaSet"):
		return &appsv1.ReplicaSet{}
	}
	return nil
}

// ReadWorkload returns replicas and Pod template of an object that NewWorkload
// made. Absent replicas mean 1, as everywhere in apps/v1.
func ReadWorkload(object client.Object) (int32, *corev1.PodTemplateSpec) {
	var replicas *int32
	var template *corev1.PodTemplateSpec
	switch o := object.(type) {
	case *appsv1.Deployment:
		replicas, template = o.Spec.Replicas, &o.Spec.Template
	case *appsv1.StatefulSet:
		replicas, template = o.Spec.Replicas, &o.Spec.Template
	case *appsv1.ReplicaSet:
		replicas, template = o.Spec.Replicas, &o.Spec.Template
	}
	if replicas == nil {
		return 1, template
	}
	return *replicas, template
}

// StripWorkload is a transform for caches: of a workload that NewWorkload knows
// it keeps what somebody here reads. Most workloads are not ours, and all of
// them are in the cache.
func StripWorkload(object any) (any, error) {
	var meta *metav1.ObjectMeta
	var template *corev1.PodTemplateSpec
	switch o := object.(type) {
	case *appsv1.Deployment:
		o.Spec = appsv1.DeploymentSpec{Replicas: o.Spec.Replicas, Template: o.Spec.Template}
		o.Status = appsv1.DeploymentStatus{}
		meta, template = &o.ObjectMeta, &o.Spec.Template
	case *appsv1.StatefulSet:
		o.Spec = appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, Template: o.Spec.Template}
		o.Status = appsv1.StatefulSetStatus{}
		meta, template = &o.ObjectMeta, &o.Spec.Template
	case *appsv1.ReplicaSet:
		o.Spec = appsv1.ReplicaSetSpec{Replicas: o.Spec.Replicas, Template: o.Spec.Template}
		o.Status = appsv1.ReplicaSetStatus{}
		meta, template = &o.ObjectMeta, &o.Spec.Template
	default: // the last state of one that was deleted unseen
		return object, nil
	}
	*meta = metav1.ObjectMeta{
		Name: meta.Name, Namespace: meta.Namespace, UID: meta.UID,
		ResourceVersion: meta.ResourceVersion, Generation: meta.Generation,
	}
	containers := make([]corev1.Container, len(template.Spec.Containers))
	for i, c := range template.Spec.Containers {
		containers[i] = corev1.Container{Name: c.Name, Env: c.Env, EnvFrom: c.EnvFrom, Resources: c.Resources}
	}
	*template = corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		ServiceAccountName: template.Spec.ServiceAccountName, Containers: containers,
	}}
	return object, nil
}

// TemplateOf finds the Pod template of an object of any kind where most have
// it, at spec.template. One without containers is none.
func TemplateOf(object *unstructured.Unstructured) *corev1.PodTemplateSpec {
	fields, found, err := unstructured.NestedMap(object.Object, "spec", "template")
	if !found || err != nil {
		return nil
	}
	template := &corev1.PodTemplateSpec{}
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(fields, template)
	if err != nil || len(template.Spec.Containers) == 0 {
		return nil
	}
	return template
}

// ReadScale reads the scale subresource of an object of any kind. from is a
// client or one like it.
func ReadScale(ctx context.Context, from interface {
	SubResource(name string) client.SubResourceClient
}, object *unstructured.Unstructured) (*autoscalingv1.Scale, error) {
	// Of an object without a Go type the client reads nothing that has one.
	fields := &unstructured.Unstructured{}
	fields.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	if err := from.SubResource("scale").Get(ctx, object, fields); err != nil {
		return nil, err
	}
	scale := &autoscalingv1.Scale{}
	return scale, runtime.DefaultUnstructuredConverter.FromUnstructured(fields.Object, scale)
}

// ServiceAccountOf is the name of a workload's service account, "" without a
// Pod template.
func ServiceAccountOf(template *corev1.PodTemplateSpec) string {
	switch {
	case template == nil:
		return ""
	case template.Spec.ServiceAccountName == "":
		return "default"
	}
	return template.Spec.ServiceAccountName
}
