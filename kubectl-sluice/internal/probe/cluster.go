package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/peers"
)

// Cluster is what a user sees of one, with the user's own rights.
type Cluster struct {
	objects  dynamic.Interface
	families *peers.Families
}

// Connect returns the cluster that a configuration is for.
func Connect(config *rest.Config, installation string) (*Cluster, error) {
	bounded := rest.CopyConfig(config)
	answers.Bound(bounded)
	objects, err := dynamic.NewForConfig(bounded)
	if err != nil {
		return nil, err
	}
	families, err := peers.Connect(config, installation)
	return &Cluster{objects: objects, families: families}, err
}

// read fills an object of a resource.
func (c *Cluster) read(ctx context.Context, resource schema.GroupVersionResource, namespace, name string, into any) error {
	got, err := c.objects.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return refill(got, into)
}

func refill(from *unstructured.Unstructured, into any) error {
	text, err := json.Marshal(from.Object)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// workload reads the target of an object, for the variables that it gives.
func (c *Cluster) workload(ctx context.Context, so *v1alpha1.ScaledObject) federation.Workload {
	kind := so.TargetKind()
	object := federation.NewWorkload(kind)
	if object == nil {
		return federation.Workload{Unread: fmt.Errorf("variables of a %s are not looked at", kind.Kind)}
	}
	resources := map[string]string{"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}
	resource := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resources[kind.Kind]}
	if err := c.read(ctx, resource, so.Namespace, so.Spec.ScaleTargetRef.Name, object); err != nil {
		return federation.Workload{Unread: err}
	}
	_, template := federation.ReadWorkload(object)
	return federation.Workload{Template: template, ServiceAccount: federation.ServiceAccountOf(template)}
}

// reading is what the metrics adapter says of one metric.
type reading struct {
	Value     string      `json:"value"`
	Timestamp metav1.Time `json:"timestamp"`
}

// adapter asks for an external metric as the HPA does.
func (c *Cluster) adapter(ctx context.Context, namespace, object, metric string) (*reading, error) {
	selector := labels.Set{v1alpha1.LabelScaledObjectName: object}.String()
	resource := schema.GroupVersionResource{Group: "external.metrics.k8s.io", Version: "v1beta1", Resource: metric}
	list, err := c.objects.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, errors.New("the metrics adapter has no value")
	}
	r := &reading{}
	return r, refill(&list.Items[0], r)
}
