package objects

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// Reader is what objects are held against: each other, and what is beside them,
// in the files or in the cluster. It reads no Secret and no ConfigMap.
type Reader struct {
	set     *Set
	cluster *Cluster // nil without one
	index   map[string][]*v1alpha1.ScaledObject
	named   map[client.ObjectKey]*v1alpha1.ScaledObject
	beside  map[string][]client.Object // others, by kind and namespace
}

// NewReader returns a reader of a set and of the cluster that it is from, if any.
func NewReader(set *Set, cluster *Cluster) *Reader {
	r := &Reader{
		set: set, cluster: cluster, index: map[string][]*v1alpha1.ScaledObject{},
		named: map[client.ObjectKey]*v1alpha1.ScaledObject{}, beside: map[string][]client.Object{},
	}
	all := slices.Concat(set.ScaledObjects, set.Neighbours)
	for _, so := range all {
		r.named[client.ObjectKeyFromObject(so)] = so
	}
	for key, object := range set.Others {
		at := key.Kind + " " + key.Namespace
		r.beside[at] = append(r.beside[at], object)
	}
	for _, index := range rules.Indexes() {
		if _, is := index.Object.(*v1alpha1.ScaledObject); !is {
			continue
		}
		for _, so := range all {
			for _, value := range index.Keys(so) {
				at := so.Namespace + " " + index.Field + " " + value
				r.index[at] = append(r.index[at], so)
			}
		}
	}
	return r
}

// NotThereError says that nobody knows what an object is.
type NotThereError struct{ Key Key }

func (e *NotThereError) Error() string { return e.Key.String() + " " + NotRead }

// NotRead is said of what is in none of the files and not in the cluster.
const NotRead = "is not among what was read"

// Get implements client.Reader, for ScaledObjects and workloads.
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	kind, resource := kindOf(into)
	if so, is := into.(*v1alpha1.ScaledObject); is {
		if known := r.named[key]; known != nil {
			known.DeepCopyInto(so)
			return nil
		}
		return apierrors.NewNotFound(schema.GroupResource{Group: "keda.sh", Resource: "scaledobjects"}, key.Name)
	}
	at := Key{Kind: kind, Namespace: key.Namespace, Name: key.Name}
	switch known := r.set.Others[at].(type) {
	case *appsv1.Deployment:
		known.DeepCopyInto(into.(*appsv1.Deployment)) //nolint:forcetypeassert // the kind is a part of the key
		return nil
	case *appsv1.StatefulSet:
		known.DeepCopyInto(into.(*appsv1.StatefulSet)) //nolint:forcetypeassert // the kind is a part of the key
		return nil
	case *appsv1.ReplicaSet:
		known.DeepCopyInto(into.(*appsv1.ReplicaSet)) //nolint:forcetypeassert // the kind is a part of the key
		return nil
	}
	if r.cluster == nil || resource == "" {
		return &NotThereError{at}
	}
	err := r.cluster.get(ctx, resource, key, into)
	if apierrors.IsNotFound(err) {
		return &NotThereError{at} // it is not waited for
	}
	if err != nil {
		return err
	}
	r.set.Others[at] = into.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	return nil
}

func kindOf(object client.Object) (kind, resource string) {
	switch object.(type) {
	case *appsv1.Deployment:
		return "Deployment", "deployments"
	case *appsv1.StatefulSet:
		return "StatefulSet", "statefulsets"
	case *appsv1.ReplicaSet:
		return "ReplicaSet", "replicasets"
	}
	return "", ""
}

// List implements client.Reader, for what package rules lists.
func (r *Reader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	field, value := "", ""
	if o.FieldSelector != nil {
		for _, requirement := range o.FieldSelector.Requirements() {
			field, value = requirement.Field, requirement.Value
		}
	}
	switch list := list.(type) {
	case *v1alpha1.ScaledObjectList:
		for _, so := range r.index[o.Namespace+" "+field+" "+value] {
			list.Items = append(list.Items, *so)
		}
		return nil
	case *autoscalingv2.HorizontalPodAutoscalerList:
		return r.each(ctx, o.Namespace, "HorizontalPodAutoscaler", (*Cluster).autoscalers, func(object client.Object) {
			if hpa, is := object.(*autoscalingv2.HorizontalPodAutoscaler); is && hpa.Spec.ScaleTargetRef.Name == value {
				list.Items = append(list.Items, *hpa)
			}
		})
	case *corev1.LimitRangeList:
		return r.each(ctx, o.Namespace, "LimitRange", (*Cluster).limitRanges, func(object client.Object) {
			if limits, is := object.(*corev1.LimitRange); is {
				list.Items = append(list.Items, *limits)
			}
		})
	}
	return fmt.Errorf("%T is not read", list)
}

// each calls take with the objects of a kind that were read, or that the cluster
// has.
func (r *Reader) each(
	ctx context.Context, namespace, kind string, live func(*Cluster, context.Context, string) ([]client.Object, error), take func(client.Object),
) error {
	read := map[string]bool{}
	for _, object := range r.beside[kind+" "+namespace] {
		read[object.GetName()] = true
		take(object)
	}
	if r.cluster == nil {
		return nil
	}
	all, err := live(r.cluster, ctx, namespace)
	if err != nil {
		return err
	}
	for _, object := range all {
		if !read[object.GetName()] { // a file says what it is going to be
			take(object)
		}
	}
	return nil
}

// ServerResourcesForGroupVersion says which kinds there are: those of the
// cluster, or without one those that every cluster has.
func (r *Reader) ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error) {
	if r.cluster != nil {
		return r.cluster.ServerResourcesForGroupVersion(groupVersion)
	}
	resource := func(kind, name string) metav1.APIResource {
		return metav1.APIResource{Kind: kind, Name: name, Namespaced: true}
	}
	scale := func(kind, name string) []metav1.APIResource {
		return []metav1.APIResource{resource(kind, name), resource("Scale", name+"/scale")}
	}
	list := &metav1.APIResourceList{GroupVersion: groupVersion}
	switch groupVersion {
	case "apps/v1":
		list.APIResources = append(scale("ReplicaSet", "replicasets"), resource("DaemonSet", "daemonsets"))
	case "batch/v1":
		list.APIResources = []metav1.APIResource{resource("Job", "jobs"), resource("CronJob", "cronjobs")}
	case "v1":
		list.APIResources = append(scale("ReplicationController", "replicationcontrollers"), resource("Pod", "pods"))
	default:
		return nil, ErrNoCluster
	}
	return list, nil
}

// ErrNoCluster is the answer about a kind that only a cluster knows.
var ErrNoCluster = errors.New("only a cluster knows the kind")
