// Package testcluster is an API server in memory for tests: controller-runtime's
// fake client, with the scale subresource of workloads, the schemas of our CRDs
// held against every status, a record of what was written, failures on demand
// and a cache that may lag behind.
package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Cluster is an API server. Client is how controllers see it, through a cache;
// Direct is what it has.
type Cluster struct {
	Client client.Client
	Direct client.Client

	mu     sync.Mutex
	writes []string
	fail   func(write string) error
	stale  map[string]client.Object
	jobs   *batchv1.JobList // what the cache shows while it lags behind
	born   int              // Jobs, for their UIDs
}

// Index is one index of the cache.
type Index struct {
	Of    client.Object
	Field string
	Keys  client.IndexerFunc
}

// Rollout and Crew are kinds that are scaled through their scale subresource
// alone. What a Rollout has there cannot be read here; a Crew has its replicas
// at spec.size.
var (
	Rollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}
	Crew    = schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Crew"}
)

// Resources are those of every Cluster, for whoever discovers kinds: a
// Rollout can be scaled, a DaemonSet cannot.
var Resources = discovery{
	"apps/v1":              {{Name: "replicasets", Kind: "ReplicaSet", Namespaced: true}, {Name: "replicasets/scale", Kind: "Scale", Namespaced: true}, {Name: "daemonsets", Kind: "DaemonSet", Namespaced: true}},
	"batch/v1":             {{Name: "jobs", Kind: "Job", Namespaced: true}},
	"argoproj.io/v1alpha1": {{Name: "rollouts", Kind: "Rollout", Namespaced: true}, {Name: "rollouts/scale", Kind: "Scale", Namespaced: true}},
	"example.org/v1":       {{Name: "crews", Kind: "Crew", Namespaced: true}, {Name: "crews/scale", Kind: "Scale", Namespaced: true}, {Name: "fleets", Kind: "Fleet"}, {Name: "fleets/scale", Kind: "Scale"}},
}

type discovery map[string][]metav1.APIResource

// ServerResourcesForGroupVersion answers as client-go's discovery client.
func (d discovery) ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error) {
	list, ok := d[groupVersion]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, groupVersion)
	}
	return &metav1.APIResourceList{GroupVersion: groupVersion, APIResources: list}, nil
}

// New returns a Cluster that has objects. ownerIndex and its function are the
// index of HPAs by owner; "" has none.
func New(t *testing.T, ownerIndex string, owner client.IndexerFunc, objects ...client.Object) *Cluster {
	t.Helper()
	if ownerIndex == "" {
		return With(t, nil, objects...)
	}
	return With(t, []Index{{&autoscalingv2.HorizontalPodAutoscaler{}, ownerIndex, owner}}, objects...)
}

// byTarget is the index that all who scale have.
var byTarget = Index{&v1alpha1.ScaledObject{}, "spec.scaleTargetRef.name", func(o client.Object) []string {
	return []string{o.(*v1alpha1.ScaledObject).Spec.ScaleTargetRef.Name}
}}

// With returns a Cluster that has indexes and objects.
func With(t *testing.T, indexes []Index, objects ...client.Object) *Cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, eventing.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cluster{stale: map[string]client.Object{}}
	b := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.ScaledObject{}, &v1alpha1.ScaledJob{}).WithObjects(objects...)
	for _, i := range append(indexes, byTarget) {
		b = b.WithIndex(i.Of, i.Field, i.Keys)
	}
	direct := b.Build()
	c.Direct = direct
	c.Client = interceptor.NewClient(direct, interceptor.Funcs{
		Get:               c.get,
		List:              c.list,
		Create:            c.create,
		Update:            c.update,
		Patch:             c.patch,
		Delete:            c.delete,
		SubResourceGet:    c.subResourceGet,
		SubResourceUpdate: c.subResourceUpdate,
		SubResourcePatch:  c.subResourcePatch,
	})
	return c
}

// Writes returns what was written since the last call, such as "patch
// ScaledObject", "scale 3".
func (c *Cluster) Writes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	writes := c.writes
	c.writes = nil
	return writes
}

// Fail lets fail decide about every write from now on; nil lets all through.
func (c *Cluster) Fail(fail func(write string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// Freeze makes the cache show an object as it is now, until Thaw.
func (c *Cluster) Freeze(t *testing.T, object client.Object) {
	t.Helper()
	frozen := object.DeepCopyObject().(client.Object)
	if err := c.Direct.Get(t.Context(), client.ObjectKeyFromObject(object), frozen); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale[staleKey(object, client.ObjectKeyFromObject(object))] = frozen
}

// FreezeJobs makes the cache show the Jobs as they are now, until Thaw.
func (c *Cluster) FreezeJobs(t *testing.T) {
	t.Helper()
	jobs := &batchv1.JobList{}
	if err := c.Direct.List(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs = jobs
}

// Thaw lets the cache catch up.
func (c *Cluster) Thaw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.stale)
	c.jobs = nil
}

func staleKey(o client.Object, key types.NamespacedName) string { return fmt.Sprintf("%T %s", o, key) }

// wrote records a write, unless it is to fail.
func (c *Cluster) wrote(write string) error {
	if err := c.refused(write); err != nil {
		return err
	}
	c.record(write)
	return nil
}

func (c *Cluster) refused(write string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail == nil {
		return nil
	}
	return c.fail(write)
}

func (c *Cluster) record(write string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, write)
}

func (c *Cluster) get(ctx context.Context, api client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	c.mu.Lock()
	frozen := c.stale[staleKey(o, key)]
	c.mu.Unlock()
	switch o := o.(type) {
	case *appsv1.Deployment:
		if frozen, ok := frozen.(*appsv1.Deployment); ok {
			frozen.DeepCopyInto(o)
			return nil
		}
	case *v1alpha1.ScaledObject:
		if frozen, ok := frozen.(*v1alpha1.ScaledObject); ok {
			frozen.DeepCopyInto(o)
			return nil
		}
	}
	return api.Get(ctx, key, o, opts...)
}

// list fails as "list <kind>" and is no write.
func (c *Cluster) list(ctx context.Context, api client.WithWatch, o client.ObjectList, opts ...client.ListOption) error {
	jobs, ok := o.(*batchv1.JobList)
	if !ok {
		return api.List(ctx, o, opts...)
	}
	c.mu.Lock()
	frozen, fail := c.jobs, c.fail
	c.mu.Unlock()
	if fail != nil {
		if err := fail("list Job"); err != nil {
			return err
		}
	}
	if frozen != nil {
		frozen.DeepCopyInto(jobs)
		return nil
	}
	return api.List(ctx, o, opts...)
}

// create gives Jobs their UIDs, as an API server does.
func (c *Cluster) create(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.CreateOption) error {
	if err := errors.Join(unmarked(o, nil), c.wrote("create "+kind(o))); err != nil {
		return err
	}
	if job, ok := o.(*batchv1.Job); ok {
		c.mu.Lock()
		c.born++
		job.UID = types.UID(fmt.Sprintf("job-%d", c.born))
		c.mu.Unlock()
	}
	return api.Create(ctx, o, opts...)
}

func (c *Cluster) update(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
	if err := errors.Join(unmarked(o, nil), c.wrote("update "+kind(o))); err != nil {
		return err
	}
	return api.Update(ctx, o, opts...)
}

func (c *Cluster) patch(ctx context.Context, api client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if err := errors.Join(unmarked(o, p), c.wrote("patch "+kind(o))); err != nil {
		return err
	}
	return api.Patch(ctx, o, p, opts...)
}

func (c *Cluster) delete(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
	if err := c.wrote("delete " + kind(o)); err != nil {
		return err
	}
	return api.Delete(ctx, o, opts...)
}

func (c *Cluster) subResourcePatch(ctx context.Context, api client.Client, name string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
	if err := errors.Join(checkStatus(api.Scheme(), o), unmarked(o, p)); err != nil {
		return err
	}
	if err := c.wrote("patch " + kind(o) + "/" + name); err != nil {
		return err
	}
	return api.SubResource(name).Patch(ctx, o, p, opts...)
}

// subResourceGet serves scale.
func (c *Cluster) subResourceGet(ctx context.Context, api client.Client, _ string, o, body client.Object, _ ...client.SubResourceGetOption) error {
	target, replicas, err := workload(ctx, api, o)
	if err != nil {
		return err
	}
	// As the real client: of an object without a Go type it reads none.
	scale, ok := body.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("unstructured client did not understand object: %T", body)
	}
	scale.SetName(o.GetName())
	scale.SetNamespace(o.GetNamespace())
	scale.SetResourceVersion(target.GetResourceVersion())
	scale.Object["spec"] = map[string]any{"replicas": int64(ptr.Deref(*replicas, 1))}
	return nil
}

// subResourceUpdate serves scale itself, with the precondition of its resource
// version.
func (c *Cluster) subResourceUpdate(ctx context.Context, api client.Client, name string, o client.Object, opts ...client.SubResourceUpdateOption) error {
	if name != "scale" {
		return c.updateStatus(ctx, api, name, o, opts...)
	}
	options := client.SubResourceUpdateOptions{}
	options.ApplyOptions(opts)
	scale := options.SubResourceBody.(*autoscalingv1.Scale)
	if err := c.wrote(fmt.Sprintf("scale %d", scale.Spec.Replicas)); err != nil {
		return err
	}
	target, replicas, err := workload(ctx, api, o)
	if err != nil {
		return err
	}
	if scale.ResourceVersion != target.GetResourceVersion() {
		return Conflict("scale")
	}
	*replicas = &scale.Spec.Replicas
	if crew, ok := target.(*unstructured.Unstructured); ok {
		if err := unstructured.SetNestedField(crew.Object, int64(scale.Spec.Replicas), "spec", "size"); err != nil {
			return err
		}
	}
	return api.Update(ctx, target)
}

func (c *Cluster) updateStatus(ctx context.Context, api client.Client, name string, o client.Object, opts ...client.SubResourceUpdateOption) error {
	write := "update " + kind(o) + "/" + name
	if err := errors.Join(checkStatus(api.Scheme(), o), unmarked(o, nil), c.refused(write)); err != nil {
		return err
	}
	err := api.SubResource(name).Update(ctx, o, opts...)
	if err == nil {
		c.record(write)
	}
	return err
}

// unmarked is an error where what a cache has written into an object is sent back:
// with all of it, or with a patch.
func unmarked(o client.Object, p client.Patch) error {
	link := o.GetSelfLink()
	if p != nil {
		data, err := p.Data(o)
		if err != nil {
			return err
		}
		if link = ""; bytes.Contains(data, []byte("selfLink")) {
			link = string(data)
		}
	}
	if link == "" {
		return nil
	}
	return fmt.Errorf("a mark of the cache is sent back: %s", link)
}

// workload reads the Deployment behind an object; other kinds have no scale.
func workload(ctx context.Context, api client.Client, o client.Object) (client.Object, **int32, error) {
	if kind(o) == Crew.Kind {
		crew := &unstructured.Unstructured{}
		crew.SetGroupVersionKind(Crew)
		err := api.Get(ctx, client.ObjectKeyFromObject(o), crew)
		size, _, _ := unstructured.NestedInt64(crew.Object, "spec", "size")
		replicas := ptr.To(int32(size)) //nolint:gosec // the tests' own
		return crew, &replicas, err
	}
	if kind(o) != "Deployment" {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Group: "argoproj.io", Resource: "rollouts"}, o.GetName())
	}
	d := &appsv1.Deployment{}
	err := api.Get(ctx, client.ObjectKeyFromObject(o), d)
	return d, &d.Spec.Replicas, err
}

func kind(o client.Object) string {
	switch o.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return "HPA"
	case *v1alpha1.ScaledObject:
		return "ScaledObject"
	case *v1alpha1.ScaledJob:
		return "ScaledJob"
	case *batchv1.Job:
		return "Job"
	}
	return o.GetObjectKind().GroupVersionKind().Kind
}

// Conflict is what the API server says to a write over a later version.
func Conflict(name string) error {
	return apierrors.NewConflict(schema.GroupResource{}, name, fmt.Errorf("the object has been modified"))
}

// CrewOf is a workload that has its replicas at spec.size.
func CrewOf(namespace, name string, size int64, template map[string]any) *unstructured.Unstructured {
	crew := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": size, "template": template}}}
	crew.SetGroupVersionKind(Crew)
	crew.SetNamespace(namespace)
	crew.SetName(name)
	return crew
}

// Deployment is a workload with replicas; nil leaves them to their default.
func Deployment(namespace, name string, replicas *int32) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: appsv1.DeploymentSpec{Replicas: replicas}}
}
