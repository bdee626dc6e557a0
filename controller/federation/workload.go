package federation

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc/codes"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
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
	containers, fit := stripContainers(template.Spec.Containers)
	if !fit {
		meta.Annotations = map[string]string{annotationCut: ""}
	}
	*template = corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		ServiceAccountName: template.Spec.ServiceAccountName, Containers: containers,
	}}
	return object, nil
}

// What is kept of the containers of one workload. The API server bounds the whole
// of it, at a few MiB that become many times as much once they are decoded.
const (
	mostContainers = 100
	// mostOfContainers is what all of them may have, with perVariable for each.
	mostOfContainers = 512 << 10
	// annotationCut is on a workload in the cache that has more.
	annotationCut = "sluice.dev/cut"
)

// Cut says why the containers of a workload from the cache are not known, nil when
// they are.
func Cut(object client.Object) error {
	switch reason, cut := object.GetAnnotations()[annotationCut]; {
	case cut && reason != "":
		return coded(codes.ResourceExhausted, "%s", reason)
	case cut:
		return coded(codes.InvalidArgument, "it has more than %d containers, or more than %d bytes of variables", mostContainers, mostOfContainers)
	}
	return nil
}

// CutWorkload leaves of a workload in a cache the replicas alone, and says why.
func CutWorkload(object client.Object, reason string) {
	if _, template := ReadWorkload(object); template != nil {
		template.Spec.Containers = nil
	}
	object.SetAnnotations(map[string]string{annotationCut: reason})
}

// stripContainers keeps what is read of containers, and nothing where it is too
// much.
func stripContainers(all []corev1.Container) (kept []corev1.Container, fit bool) {
	if len(all) > mostContainers {
		return nil, false
	}
	kept = make([]corev1.Container, len(all))
	bytes := 0
	for i, c := range all {
		kept[i] = corev1.Container{Name: c.Name, Env: c.Env, EnvFrom: c.EnvFrom, Resources: corev1.ResourceRequirements{
			Requests: builtins(c.Resources.Requests), Limits: builtins(c.Resources.Limits),
		}}
		for v := range c.Env {
			bytes += len(c.Env[v].Name) + len(c.Env[v].Value) + perVariable
		}
		bytes += len(c.EnvFrom) * perVariable
	}
	if bytes > mostOfContainers {
		return nil, false
	}
	return kept, true
}

// builtins are the resources that triggers may be about.
func builtins(all corev1.ResourceList) corev1.ResourceList {
	var kept corev1.ResourceList
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if quantity, ok := all[name]; ok {
			if kept == nil {
				kept = corev1.ResourceList{}
			}
			kept[name] = quantity
		}
	}
	return kept
}

// mostOfOthers is what an object of another kind may have, as JSON.
const mostOfOthers = 256 << 10

// StripOthers is a transform for caches: of objects without a Go type it keeps
// what is read of a workload, and of one that is too large the replicas alone.
func StripOthers(object any) (any, error) {
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return cache.TransformStripManagedFields()(object)
	}
	spec := map[string]any{}
	kept := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	kept.SetGroupVersionKind(o.GroupVersionKind())
	kept.SetName(o.GetName())
	kept.SetNamespace(o.GetNamespace())
	kept.SetUID(o.GetUID())
	kept.SetResourceVersion(o.GetResourceVersion())
	kept.SetGeneration(o.GetGeneration())
	for _, field := range []string{"replicas", "template"} {
		value, found, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", field)
		text, err := json.Marshal(value)
		switch {
		case !found:
		case err != nil || len(text) > mostOfOthers:
			kept.SetAnnotations(map[string]string{annotationCut: ""})
		default:
			spec[field] = value
		}
	}
	return kept, nil
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
