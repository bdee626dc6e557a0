// Package target reads and writes the replicas of the workloads that
// ScaledObjects scale.
package target

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

// Target is a workload at one moment.
type Target struct {
	// GVKR is the workload's kind and resource.
	GVKR v1alpha1.GroupVersionKindResource
	// Key is the workload's namespace and name.
	Key types.NamespacedName
	// Replicas is what its spec asks for.
	Replicas int32
	// ResourceVersion is the moment; Scale refuses to write over a later one.
	ResourceVersion string
	// Unwatched is true when nobody tells of changes: it has to be looked at.
	Unwatched bool

	object client.Object // nil when only its scale was read
}

// Template is the workload's Pod template, nil when it has none we know.
func (t Target) Template() *corev1.PodTemplateSpec {
	switch o := t.object.(type) {
	case nil:
		return nil
	case *unstructured.Unstructured:
		return federation.TemplateOf(o)
	default:
		_, template := federation.ReadWorkload(o)
		return template
	}
}

// Ready is how many of its Pods are ready, where that is watched.
func (t Target) Ready() (ready int32, known bool) { return federation.ReadyReplicas(t.object) }

// Pods is how many there are of it, ready or not, where that is watched.
func (t Target) Pods() (pods int32, known bool) { return federation.Pods(t.object) }

// Unread is why the containers of the template are not known, nil when they are.
func (t Target) Unread() error {
	if t.object == nil {
		return nil
	}
	if err := federation.Cut(t.object); err != nil {
		return fmt.Errorf("%s %s: %w", t.GVKR, t.Key, err)
	}
	return nil
}

// Client reads and writes targets. Deployments and StatefulSets come from the
// cache of Reader, and so does every other kind that Kinds may watch; of the
// rest the scale subresource is read each time.
type Client struct {
	// Reader is the manager's cached client.
	Reader client.Client
	// Direct reads from the API server.
	Direct client.Reader
	// Discovery knows the kinds of the cluster.
	*kinds.Discovery
	// Kinds watches what Reader does not; nil watches nothing.
	Kinds *Kinds
	// Workloads cut down what the cache of Reader holds; nil is for tests.
	Workloads *federation.Workloads

	refusals refusals
}

// Get reads the target of an object.
func (c *Client) Get(ctx context.Context, so *v1alpha1.ScaledObject) (Target, error) {
	t := Target{Key: types.NamespacedName{Namespace: so.Namespace, Name: so.Spec.ScaleTargetRef.Name}}
	gvkr, err := c.Kind(so)
	var unscalable *kinds.UnscalableError
	if errors.As(err, &unscalable) {
		unscalable.Key = t.Key
	}
	if err != nil {
		return t, err
	}
	t.GVKR = gvkr
	if object := federation.NewWorkload(t.gvk()); watchedFromTheStart(object) {
		if err := c.Reader.Get(ctx, t.Key, object); err != nil {
			return t, notFound(err, t)
		}
		t.ResourceVersion, t.object = object.GetResourceVersion(), object
		t.Replicas, _ = federation.ReadWorkload(object)
		return t, nil
	}
	if known, err := c.watched(ctx, &t); known {
		return t, err
	}
	scale, err := c.scale(ctx, t)
	if err != nil {
		return t, err
	}
	t.Replicas, t.ResourceVersion, t.Unwatched = scale.Spec.Replicas, scale.ResourceVersion, t.object == nil
	return t, nil
}

// Kind finds out the kind of an object's target.
func (c *Client) Kind(so *v1alpha1.ScaledObject) (v1alpha1.GroupVersionKindResource, error) {
	ref, question := so.Spec.ScaleTargetRef, asked{namespace: so.Namespace}
	remembered := c.Remembers(ref)
	if !remembered && c.refusals.last(question, c.Now()) != nil {
		return v1alpha1.GroupVersionKindResource{}, fmt.Errorf(
			"kind: %.320s %s: is not looked for yet: namespace %.64s names more than %d kinds within %v that this cluster does not know",
			ref.TargetAPIVersion(), ref.TargetKind(), so.Namespace, mostRefusals, refusedFor)
	}
	kind, err := c.Resolve(ref)
	if !remembered {
		c.refusals.heard(question, err, c.Now())
	}
	return kind, err
}

// NoRoom reports whether the template is not known because other objects of its
// namespace leave no room for it, as they may do later.
func (t Target) NoRoom() bool { return t.object != nil && federation.NoRoom(t.object) }

// Whole is Get with the Pod template of a target that is not in a cache, where
// the controller may read it, or that there was no room for when it came.
func (c *Client) Whole(ctx context.Context, so *v1alpha1.ScaledObject) (Target, error) {
	t, err := c.Get(ctx, so)
	known := t.object != nil && (!t.NoRoom() || !c.Workloads.Room(t.object))
	question := asked{t.Key.Namespace, t.GVKR, "object"}
	if err != nil || known || c.refusals.last(question, c.Now()) != nil {
		return t, err
	}
	object := ofKind(t.gvk())
	err = c.Direct.Get(ctx, t.Key, object)
	switch c.refusals.heard(question, err, c.Now()); {
	case apierrors.IsForbidden(err):
		return t, nil
	case err != nil:
		return t, notFound(err, t)
	}
	if t.object == nil {
		t.object = object
		return t, nil
	}
	stripped, err := c.strip(object)
	if kept, ok := stripped.(client.Object); ok {
		t.object = kept
	}
	return t, err
}

// strip has of a workload that was read what the cache would hold of it.
func (c *Client) strip(object client.Object) (any, error) {
	if _, other := object.(*unstructured.Unstructured); other {
		return c.Workloads.StripOthers(object)
	}
	return c.Workloads.Strip(object)
}

// watchedFromTheStart reports whether a workload is of a kind that most targets
// are of. A ReplicaSet is not: nearly all belong to Deployments, which keep ten
// old ones each, and hardly any is scaled by itself.
func watchedFromTheStart(workload client.Object) bool {
	switch workload.(type) {
	case *appsv1.Deployment, *appsv1.StatefulSet:
		return true
	}
	return false
}

// watched reads a target of a kind that Kinds watches. It is false when the
// replicas have to be read from the scale subresource: nothing is watched, or
// the object has them elsewhere.
func (c *Client) watched(ctx context.Context, t *Target) (known bool, err error) {
	if c.Kinds == nil {
		return false, nil
	}
	object, found, err := c.Kinds.get(ctx, *t)
	switch {
	case !found:
		return false, nil
	case err != nil:
		return true, notFound(err, *t)
	}
	t.object = object
	if fields, ok := object.(*unstructured.Unstructured); ok {
		replicas, found, err := unstructured.NestedInt64(fields.Object, "spec", "replicas")
		if !found || err != nil {
			return false, nil //nolint:nilerr // its scale tells
		}
		t.Replicas = int32(replicas) //nolint:gosec // the API server keeps it in an int32
	} else {
		t.Replicas, _ = federation.ReadWorkload(object)
	}
	t.ResourceVersion = object.GetResourceVersion()
	return true, nil
}

// scale reads the scale subresource of a kind that is not cached.
func (c *Client) scale(ctx context.Context, t Target) (*autoscalingv1.Scale, error) {
	question := asked{t.Key.Namespace, t.GVKR, "scale"}
	if err := c.refusals.last(question, c.Now()); err != nil {
		return nil, notFound(err, t)
	}
	scale, err := federation.ReadScale(ctx, c.Reader, t.reference())
	c.refusals.heard(question, err, c.Now())
	if err != nil {
		return nil, notFound(err, t)
	}
	return scale, nil
}

// Scale sets the replicas of a target as it was when read. A conflict means
// that it changed since: read again and decide again.
func (c *Client) Scale(ctx context.Context, t Target, replicas int32) error {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: t.Key.Name, Namespace: t.Key.Namespace, ResourceVersion: t.ResourceVersion},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	err := c.Reader.SubResource("scale").Update(ctx, t.reference(), client.WithSubResourceBody(scale))
	return notGranted(err, t.GVKR)
}

func (t Target) gvk() schema.GroupVersionKind { return t.GVKR.GVK() }

// reference is the target as the client wants to see it.
func (t Target) reference() *unstructured.Unstructured {
	u := untyped(t.gvk())
	u.SetNamespace(t.Key.Namespace)
	u.SetName(t.Key.Name)
	return u
}

func notFound(err error, t Target) error {
	if apierrors.IsNotFound(err) {
		return &MissingError{Target: t}
	}
	return fmt.Errorf("%s %s: %w", t.GVKR, t.Key, notGranted(err, t.GVKR))
}

// MissingError says that a target does not exist.
type MissingError struct{ Target Target }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s %s not found", e.Target.GVKR, e.Target.Key)
}
