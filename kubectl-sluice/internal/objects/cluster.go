package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
)

const (
	// pageSize is how many objects are asked for at once, fewer where that many
	// are larger than an answer may be.
	pageSize = 500
	// mostOfCluster is what is kept of all of them, as of files.
	mostOfCluster = mostOfAll
)

// Cluster reads from an API server, with the rights of whoever asks.
type Cluster struct {
	objects   dynamic.Interface
	discovery discovery.DiscoveryInterface

	most int64 // mostOfCluster

	mu     sync.Mutex
	kept   int64                      // bytes of what was read
	lists  map[string][]client.Object // by resource and namespace
	refuse map[string]error           // what was refused
}

// Connect returns a reader of the cluster that a configuration is for.
func Connect(config *rest.Config) (*Cluster, error) {
	c := &Cluster{most: mostOfCluster, lists: map[string][]client.Object{}, refuse: map[string]error{}}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100 // an answer is waited for by a person
	answers.Bound(config)
	var err error
	if c.objects, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.discovery, err = discovery.NewDiscoveryClientForConfig(config); err != nil {
		return nil, err
	}
	return c, nil
}

// keep counts what is kept of an object.
func (c *Cluster) keep(bytes int) error {
	if c.kept += int64(bytes); c.kept > c.most {
		return fmt.Errorf("more than %d MiB of objects; -n checks one namespace", c.most>>20)
	}
	return nil
}

// kind is one that is read from a cluster.
type kind struct {
	group, resource, kind string
	cluster, optional     bool
}

// judged are the kinds that are judged.
var judged = []kind{
	{group: "keda.sh", resource: "scaledobjects", kind: "ScaledObject"},
	{group: "keda.sh", resource: "scaledjobs", kind: "ScaledJob"},
	{group: "keda.sh", resource: "triggerauthentications", kind: "TriggerAuthentication"},
	{group: "keda.sh", resource: "clustertriggerauthentications", kind: "ClusterTriggerAuthentication", cluster: true},
	{group: "eventing.keda.sh", resource: "cloudeventsources", kind: "CloudEventSource", optional: true},
	{group: "eventing.keda.sh", resource: "clustercloudeventsources", kind: "ClusterCloudEventSource", cluster: true, optional: true},
}

// Read reads all objects that are judged, of one namespace or, with "", of all.
// ClusterTriggerAuthentications are read either way.
func (c *Cluster) Read(ctx context.Context, namespace string) (*Set, error) {
	set := New()
	for _, k := range judged {
		resource := schema.GroupVersionResource{Group: k.group, Version: "v1alpha1", Resource: k.resource}
		where := namespace
		if k.cluster {
			where = ""
		}
		err := c.pages(ctx, resource, where, func(item *unstructured.Unstructured) error {
			item.SetAPIVersion(k.group + "/v1alpha1")
			item.SetKind(k.kind)
			item.SetManagedFields(nil)
			text, err := json.Marshal(item.Object)
			if err := errors.Join(err, c.keep(len(text))); err != nil {
				return err
			}
			return set.add(text, Source{}, "default", 0)
		})
		switch {
		case err == nil, apierrors.IsNotFound(err) && k.optional:
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("this cluster has no %s.%s: it has neither KEDA nor Sluice; manifests are checked with -f", k.resource, k.group)
		case apierrors.IsForbidden(err) && k.cluster:
			set.unread(Key{Kind: k.kind}, Source{}, fmt.Errorf("you may not list %s.%s", k.resource, k.group))
		case apierrors.IsForbidden(err) && namespace == "":
			return nil, fmt.Errorf("you may not list %s.%s in all namespaces; -n checks one: %w", k.resource, k.group, err)
		case apierrors.IsForbidden(err):
			return nil, fmt.Errorf("you may not list %s.%s in namespace %s: %w", k.resource, k.group, namespace, err)
		default:
			return nil, fmt.Errorf("%s.%s: %w", k.resource, k.group, err)
		}
	}
	set.sort()
	return set, nil
}

// Beside adds the cluster's ScaledObjects to those of files, as Neighbours, in the
// namespaces that the files have some in; and what the cluster says of the files' own
// objects.
func (c *Cluster) Beside(ctx context.Context, set *Set) error {
	mine := map[string]map[string]bool{}
	for _, so := range set.ScaledObjects {
		name(mine, so)
	}
	set.Conditions = map[Key]v1alpha1.Conditions{}
	resource := v1alpha1.GroupVersion.WithResource("scaledobjects")
	for _, namespace := range slices.Sorted(maps.Keys(mine)) {
		err := c.pages(ctx, resource, namespace, func(item *unstructured.Unstructured) error {
			if mine[namespace][item.GetName()] { // it becomes what the file says
				return c.conditions(set, item, "ScaledObject")
			}
			delete(item.Object, "status") // of whatever wrote it
			so := &v1alpha1.ScaledObject{}
			bytes, err := refill(item, so)
			if err != nil {
				return nil //nolint:nilerr // what makes no sense has no target
			}
			set.Neighbours = append(set.Neighbours, so)
			return c.keep(bytes)
		})
		switch {
		case apierrors.IsNotFound(err):
			return errors.New("this cluster has no scaledobjects.keda.sh: it has neither Sluice nor KEDA; check without --cluster")
		case err != nil:
			return fmt.Errorf("scaledobjects.keda.sh in namespace %s: %w", namespace, err)
		}
	}
	byName(set.Neighbours)
	return c.jobs(ctx, set)
}

// name adds an object to names by namespace.
func name(all map[string]map[string]bool, o client.Object) {
	if all[o.GetNamespace()] == nil {
		all[o.GetNamespace()] = map[string]bool{}
	}
	all[o.GetNamespace()][o.GetName()] = true
}

// jobs adds what the cluster says of the files' ScaledJobs. Nothing else is held
// against those, so who may not list them is told, and goes on.
func (c *Cluster) jobs(ctx context.Context, set *Set) error {
	mine := map[string]map[string]bool{}
	for _, sj := range set.ScaledJobs {
		name(mine, sj)
	}
	for _, namespace := range slices.Sorted(maps.Keys(mine)) {
		err := c.pages(ctx, v1alpha1.GroupVersion.WithResource("scaledjobs"), namespace, func(item *unstructured.Unstructured) error {
			if !mine[namespace][item.GetName()] {
				return nil
			}
			return c.conditions(set, item, "ScaledJob")
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			set.Unasked = append(set.Unasked, fmt.Sprintf("how the ScaledJobs of namespace %s are in the cluster: %v", namespace, err))
		}
	}
	return nil
}

// conditions keeps those of an object. A status that makes no sense says nothing.
func (c *Cluster) conditions(set *Set, item *unstructured.Unstructured, kind string) error {
	var status struct {
		Conditions v1alpha1.Conditions `json:"conditions"`
	}
	text, err := json.Marshal(item.Object["status"])
	if err != nil || json.Unmarshal(text, &status) != nil {
		return nil //nolint:nilerr // somebody else's
	}
	set.Conditions[Key{Kind: kind, Namespace: item.GetNamespace(), Name: item.GetName()}] = status.Conditions
	return c.keep(len(text))
}

// pages calls each with all objects of a resource, a page at a time, and smaller
// pages where objects are large.
func (c *Cluster) pages(ctx context.Context, resource schema.GroupVersionResource, namespace string, each func(*unstructured.Unstructured) error) error {
	size := int64(pageSize)
	for token := ""; ; {
		page, err := c.objects.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: size, Continue: token})
		if errors.Is(err, answers.ErrLarge) && size > 1 {
			size /= 4
			continue
		}
		if apierrors.IsResourceExpired(err) && token != "" {
			// The rest as it is now: a list may take longer than the API server
			// keeps what it looked like.
			var status apierrors.APIStatus
			if errors.As(err, &status) && status.Status().Continue != "" {
				token = status.Status().Continue
				continue
			}
		}
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := each(&page.Items[i]); err != nil {
				return err
			}
		}
		if token = page.GetContinue(); token == "" {
			return nil
		}
	}
}

// ServerResourcesForGroupVersion says which kinds there are.
func (c *Cluster) ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error) {
	return c.discovery.ServerResourcesForGroupVersion(groupVersion)
}

// get fills a workload.
func (c *Cluster) get(ctx context.Context, resource string, key client.ObjectKey, into client.Object) error {
	bytes, err := c.fill(ctx, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource}, key, into)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keep(bytes)
}

// all are the objects of a kind in a namespace, read once.
func (c *Cluster) all(ctx context.Context, resource schema.GroupVersionResource, namespace string, empty func() client.Object) ([]client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := resource.Resource + " " + namespace
	if list, read := c.lists[name]; read || c.refuse[name] != nil {
		return list, c.refuse[name]
	}
	var list []client.Object
	err := c.pages(ctx, resource, namespace, func(item *unstructured.Unstructured) error {
		object := empty()
		list = append(list, object)
		bytes, err := refill(item, object)
		return errors.Join(err, c.keep(bytes))
	})
	if err != nil {
		c.refuse[name] = err
		return nil, err
	}
	c.lists[name] = list
	return list, nil
}

func (c *Cluster) autoscalers(ctx context.Context, namespace string) ([]client.Object, error) {
	return c.all(ctx, autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"), namespace,
		func() client.Object { return &autoscalingv2.HorizontalPodAutoscaler{} })
}

func (c *Cluster) limitRanges(ctx context.Context, namespace string) ([]client.Object, error) {
	return c.all(ctx, corev1.SchemeGroupVersion.WithResource("limitranges"), namespace,
		func() client.Object { return &corev1.LimitRange{} })
}

// AccountAnnotations are the annotations of a ServiceAccount, by which clouds
// know it.
func (c *Cluster) AccountAnnotations(ctx context.Context, namespace, name string) (map[string]string, error) {
	account, err := c.objects.Resource(corev1.SchemeGroupVersion.WithResource("serviceaccounts")).
		Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return account.GetAnnotations(), nil
}

// refill returns how many bytes an object has, too.
func refill(from *unstructured.Unstructured, into client.Object) (int, error) {
	from.SetManagedFields(nil)
	text, err := json.Marshal(from.Object)
	if err != nil {
		return 0, err
	}
	return len(text), json.Unmarshal(text, into)
}

// Fresh is a reader of the same cluster that has read nothing yet.
func (c *Cluster) Fresh() *Cluster {
	return &Cluster{objects: c.objects, discovery: c.discovery, most: c.most, lists: map[string][]client.Object{}, refuse: map[string]error{}}
}
