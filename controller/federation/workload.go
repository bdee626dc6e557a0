package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
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

// ReadyReplicas is how many Pods of a Deployment or StatefulSet are ready; of other
// kinds it is not known.
func ReadyReplicas(object client.Object) (ready int32, known bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return o.Status.ReadyReplicas, true
	case *appsv1.StatefulSet:
		return o.Status.ReadyReplicas, true
	}
	return 0, false
}

// Pods is how many Pods a Deployment or StatefulSet has; of other kinds it is not
// known.
func Pods(object client.Object) (pods int32, known bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return o.Status.Replicas, true
	case *appsv1.StatefulSet:
		return o.Status.Replicas, true
	}
	return 0, false
}

// Workloads makes the transforms of a process's caches for workloads. Most are not
// ours, and all of them are in the cache: what somebody here reads is kept, and for
// one namespace so much of that.
type Workloads struct{ usual, others *kept.Budget }

// MostOfWorkloads is what the workloads of one namespace may take.
const MostOfWorkloads = 64 << 20

// NewWorkloads returns transforms that bound what the workloads of each namespace
// take.
func NewWorkloads() *Workloads { return WorkloadsIn(kept.New(MostOfWorkloads, kept.Unbounded)) }

// WorkloadsIn returns transforms that keep to a budget.
func WorkloadsIn(budget *kept.Budget) *Workloads { return &Workloads{budget, budget} }

// OthersIn returns transforms that keep to another budget with what is watched only
// because somebody has such a target: each Deployment has ReplicaSets, and whoever
// names one has all of them watched.
func (w *Workloads) OthersIn(budget *kept.Budget) *Workloads { return &Workloads{w.usual, budget} }

// Room reports whether there may be room for a workload that there was none for.
func (w *Workloads) Room(object client.Object) bool {
	return w != nil && w.of(object).Room(object.GetNamespace())
}

// of is the budget of an object.
func (w *Workloads) of(object any) *kept.Budget {
	switch object.(type) {
	case *appsv1.Deployment, *appsv1.StatefulSet:
		return w.usual
	default:
		return w.others
	}
}

// StripWorkload leaves of a workload that is kept elsewhere what Strip does, whatever
// there is of others.
func StripWorkload(object any) (any, error) { return (*Workloads)(nil).Strip(object) }

// Strip is a transform for caches: of a workload that NewWorkload knows it keeps
// what somebody here reads. What it stripped already stays as it is.
func (w *Workloads) Strip(object any) (any, error) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		if there := again(w, o, "Deployment/"); there != nil {
			return there, nil
		}
		o.Spec = appsv1.DeploymentSpec{Replicas: o.Spec.Replicas, Template: o.Spec.Template}
		o.Status = appsv1.DeploymentStatus{Replicas: o.Status.Replicas, ReadyReplicas: o.Status.ReadyReplicas}
		strip(w, o, "Deployment/", &o.ObjectMeta, &o.Spec.Template)
	case *appsv1.StatefulSet:
		if there := again(w, o, "StatefulSet/"); there != nil {
			return there, nil
		}
		o.Spec = appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, Template: o.Spec.Template}
		o.Status = appsv1.StatefulSetStatus{Replicas: o.Status.Replicas, ReadyReplicas: o.Status.ReadyReplicas}
		strip(w, o, "StatefulSet/", &o.ObjectMeta, &o.Spec.Template)
	case *appsv1.ReplicaSet:
		if there := again(w, o, "ReplicaSet/"); there != nil {
			return there, nil
		}
		o.Spec = appsv1.ReplicaSetSpec{Replicas: o.Spec.Replicas, Template: o.Spec.Template}
		o.Status = appsv1.ReplicaSetStatus{}
		strip(w, o, "ReplicaSet/", &o.ObjectMeta, &o.Spec.Template)
	} // else the last state of one that was deleted unseen
	return object, nil
}

// workload is a pointer to one with a Go type.
type workload[T any] interface {
	*T
	client.Object
}

// again is what there is of a workload that is read again as it was, nil for nothing.
func again[T any, O workload[T]](w *Workloads, o O, kind string) O {
	if w == nil || kept.Why(o) != "" {
		return nil
	}
	return kept.Again[T, O](w.of(o), kind+o.GetName(), o)
}

// strip keeps of an object what is read of it, as far as there is room.
func strip[T any, O workload[T]](w *Workloads, object O, kind string, meta *metav1.ObjectMeta, template *corev1.PodTemplateSpec) {
	marked, mark := kept.Why(meta) != "", meta.GetSelfLink()
	*meta = metav1.ObjectMeta{
		Name: meta.Name, Namespace: meta.Namespace, UID: meta.UID,
		ResourceVersion: meta.ResourceVersion, Generation: meta.Generation,
	}
	containers, bytes, err := stripContainers(template.Spec.Containers)
	switch {
	case marked:
		containers = nil
		meta.SetSelfLink(mark)
	case err != nil:
		kept.Cut(meta, err.Error())
	case w != nil:
		if err = hold(w, (*T)(object), containers, meta.Namespace, kind+meta.Name, bytes); err != nil {
			containers = nil
			kept.NoRoom(meta, err.Error())
		} else {
			kept.Remember(w.of(object), kind+meta.Name, object)
		}
	}
	*template = corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		ServiceAccountName: template.Spec.ServiceAccountName, Containers: containers,
	}}
}

// hold counts containers for as long as somebody has them: whoever has a copy of
// the object or of its template has the same.
func hold[T any](w *Workloads, object *T, containers []corev1.Container, namespace, name string, bytes int) error {
	if len(containers) == 0 {
		return kept.Hold(w.of(object), object, namespace, name, kept.PerObject+bytes)
	}
	return kept.Hold(w.of(object), &containers[0], namespace, name, kept.PerObject+bytes)
}

// What is kept of the containers of one workload. The API server bounds the whole
// of it, at a few MiB that become many times as much once they are decoded.
const (
	mostContainers = 100
	// mostOfContainers is what all of them may take.
	mostOfContainers = 1 << 20
)

// NoRoom reports whether the containers of a workload from the cache are not known
// because there was no room for them, as there may be by now.
func NoRoom(object client.Object) bool { return kept.WantsRoom(object) }

// What values take in memory, beside the bytes of their texts.
const (
	costOfContainer = 1 << 10
	costOfVariable  = 40
	costOfSource    = 48 // of a variable, or of many of them
	costOfReference = 64
	costOfQuantity  = 256
)

// Cut says why the containers of a workload from the cache are not known, nil when
// they are.
func Cut(object client.Object) error {
	switch why := kept.Why(object); {
	case why == "":
		return nil
	case NoRoom(object):
		return coded(codes.ResourceExhausted, "%s", why)
	default:
		return coded(codes.InvalidArgument, "%s", why)
	}
}

// stripContainers keeps what is read of containers, and tells what that takes. The
// error says that it is too much.
func stripContainers(all []corev1.Container) (kept []corev1.Container, bytes int, err error) {
	if len(all) > mostContainers {
		return nil, 0, fmt.Errorf("it has more than %d containers", mostContainers)
	}
	kept = make([]corev1.Container, len(all))
	for i, c := range all {
		kept[i] = corev1.Container{Name: c.Name, EnvFrom: c.EnvFrom, Resources: corev1.ResourceRequirements{
			Requests: builtins(c.Resources.Requests), Limits: builtins(c.Resources.Limits),
		}}
		bytes += costOfContainer + len(c.Name) + costOfQuantity*(len(kept[i].Resources.Requests)+len(kept[i].Resources.Limits))
		if len(c.Env) > 0 {
			kept[i].Env = make([]corev1.EnvVar, len(c.Env)) // without room for more
		}
		for v := range c.Env {
			kept[i].Env[v] = stripVariable(c.Env[v])
			bytes += costOfVariable + len(c.Env[v].Name) + len(c.Env[v].Value) + costOfPlace(kept[i].Env[v].ValueFrom)
		}
		for _, from := range c.EnvFrom {
			bytes += costOfSource + len(from.Prefix)
			if ref := from.SecretRef; ref != nil {
				bytes += costOfReference + len(ref.Name)
			}
			if ref := from.ConfigMapRef; ref != nil {
				bytes += costOfReference + len(ref.Name)
			}
		}
		if bytes > mostOfContainers {
			return nil, 0, fmt.Errorf("its containers have variables that take more than %d bytes", mostOfContainers)
		}
	}
	return kept, bytes, nil
}

// unknownPlace is where all variables are from that only the kubelet knows.
var unknownPlace = &corev1.EnvVarSource{}

// stripVariable leaves out of a variable where its value is when nobody here would
// find it.
func stripVariable(v corev1.EnvVar) corev1.EnvVar {
	switch from := v.ValueFrom; {
	case from == nil:
	case from.SecretKeyRef != nil:
		v.ValueFrom = &corev1.EnvVarSource{SecretKeyRef: from.SecretKeyRef}
	case from.ConfigMapKeyRef != nil:
		v.ValueFrom = &corev1.EnvVarSource{ConfigMapKeyRef: from.ConfigMapKeyRef}
	default:
		v.ValueFrom = unknownPlace
	}
	return v
}

// costOfPlace is what saying where a variable's value is takes.
func costOfPlace(from *corev1.EnvVarSource) int {
	switch {
	case from == nil || from == unknownPlace:
		return 0
	case from.SecretKeyRef != nil:
		return costOfSource + costOfReference + len(from.SecretKeyRef.Name) + len(from.SecretKeyRef.Key)
	}
	return costOfSource + costOfReference + len(from.ConfigMapKeyRef.Name) + len(from.ConfigMapKeyRef.Key)
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

// What is kept of an object of another kind, by its JSON: its bytes, and what each
// value takes once it is decoded.
const (
	mostOfOthers = 256 << 10
	costOfValue  = 128
)

// StripOthers is the same for what Workloads.StripOthers does.
func StripOthers(object any) (any, error) { return (*Workloads)(nil).StripOthers(object) }

// StripOthers is a transform for caches: of objects without a Go type it keeps
// what is read of a workload, and of one that is too large the replicas alone.
func (w *Workloads) StripOthers(object any) (any, error) {
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return cache.TransformStripManagedFields()(object)
	}
	name := o.GroupVersionKind().GroupKind().String() + "/" + o.GetName()
	if w != nil && kept.Why(o) == "" {
		if there := kept.Again(w.others, name, o); there != nil {
			return there, nil
		}
	}
	spec := map[string]any{}
	stripped := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	stripped.SetGroupVersionKind(o.GroupVersionKind())
	stripped.SetName(o.GetName())
	stripped.SetNamespace(o.GetNamespace())
	stripped.SetUID(o.GetUID())
	stripped.SetResourceVersion(o.GetResourceVersion())
	stripped.SetGeneration(o.GetGeneration())
	marked := kept.Why(o) != ""
	if marked {
		stripped.SetSelfLink(o.GetSelfLink())
	}
	bytes := kept.PerObject
	for _, field := range []string{"replicas", "template"} {
		value, found, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", field)
		if !found {
			continue
		}
		text, err := json.Marshal(value)
		cost := len(text) + costOfValue*externalscaler.CountValues(string(text))
		if err = errors.Join(err, othersFit(field, len(text), cost)); err != nil {
			kept.Cut(stripped, err.Error())
			continue
		}
		spec[field] = value
		bytes += cost
	}
	if w == nil || marked {
		return stripped, nil
	}
	if err := kept.Hold(w.others, stripped, o.GetNamespace(), name, bytes); err != nil {
		delete(spec, "template")
		kept.NoRoom(stripped, err.Error())
		return stripped, nil
	}
	kept.Remember(w.others, name, stripped)
	return stripped, nil
}

// othersFit is an error where a field of an object of another kind is too large.
func othersFit(field string, text, cost int) error {
	if text > mostOfOthers || cost > 4*mostOfOthers {
		return fmt.Errorf("its %s has more than %d bytes or %d values", field, mostOfOthers, 4*mostOfOthers/costOfValue)
	}
	return nil
}

// TemplateOf finds the Pod template of an object of any kind where most have
// it, at spec.template. One without containers is none.
func TemplateOf(object *unstructured.Unstructured) *corev1.PodTemplateSpec {
	spec, found, err := unstructured.NestedFieldNoCopy(object.Object, "spec", "template", "spec")
	if !found || err != nil {
		return nil
	}
	template := &corev1.PodTemplateSpec{}
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"spec": readOf(spec)}, template)
	if err != nil || len(template.Spec.Containers) == 0 {
		return nil
	}
	return template
}

// readOf are the fields of a Pod's spec that somebody here reads, as they stand in
// JSON. Nothing else of it is decoded: the API server looks at little of what is in
// objects of other kinds, and one quantity may be gigabytes of digits.
func readOf(spec any) map[string]any {
	read := only(spec, "serviceAccountName")
	containers, _ := field(spec, "containers").([]any)
	kept := make([]any, len(containers))
	for i, c := range containers {
		one := only(c, "name", "envFrom")
		variables, _ := field(c, "env").([]any)
		env := make([]any, len(variables))
		for v, variable := range variables {
			values := only(variable, "name", "value")
			if from := field(variable, "valueFrom"); from != nil {
				values["valueFrom"] = only(from, "secretKeyRef", "configMapKeyRef")
			}
			env[v] = values
		}
		resources := map[string]any{}
		for _, kind := range []string{"requests", "limits"} {
			resources[kind] = quantities(field(field(c, "resources"), kind))
		}
		one["env"], one["resources"] = env, resources
		kept[i] = one
	}
	read["containers"] = kept
	return read
}

// quantities are those that triggers may be about, and that are read at once.
func quantities(all any) map[string]any {
	read := only(all, string(corev1.ResourceCPU), string(corev1.ResourceMemory))
	for name, quantity := range read {
		if scalerv1.CheckQuantity(fmt.Sprint(quantity)) != nil {
			delete(read, name)
		}
	}
	return read
}

func field(of any, name string) any {
	fields, _ := of.(map[string]any)
	return fields[name]
}

// only are some of the fields of what may be an object.
func only(of any, names ...string) map[string]any {
	kept := map[string]any{}
	for _, name := range names {
		if value := field(of, name); value != nil {
			kept[name] = value
		}
	}
	return kept
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
