package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
)

const (
	// loopbackPort is the name of the port of a family's Pod at which
	// kubectl port-forward ends.
	loopbackPort = "loopback"
	// mostPods is how many of a family's are looked at.
	mostPods = 50
)

// Cluster is what a user sees of one, with the user's own rights.
type Cluster struct {
	objects dynamic.Interface
	config  *rest.Config
	// installation is the namespace of Sluice.
	installation string
}

// Connect returns the cluster that a configuration is for.
func Connect(config *rest.Config, installation string) (*Cluster, error) {
	bounded := rest.CopyConfig(config)
	answers.Bound(bounded)
	objects, err := dynamic.NewForConfig(bounded)
	return &Cluster{objects: objects, config: config, installation: installation}, err
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

// pod is one of a family's that is ready, and how to connect to it.
type pod struct {
	name string
	dial func(context.Context) (net.Conn, error)
}

// unaskableError says why the family of a trigger cannot be asked by the user.
type unaskableError struct{ why string }

func (e *unaskableError) Error() string { return e.why }

// family finds a Pod that serves a trigger type: that of its Service.
func (c *Cluster) family(ctx context.Context, triggerType string) (*pod, error) {
	if err := federation.CheckType(triggerType); err != nil {
		return nil, err
	}
	name := "scaler-" + triggerType
	var service corev1.Service
	switch err := c.read(ctx, corev1.SchemeGroupVersion.WithResource("services"), c.installation, name, &service); {
	case apierrors.IsNotFound(err):
		return nil, federation.Absent(triggerType, c.installation, nil)
	case apierrors.IsForbidden(err):
		return nil, &unaskableError{"you may not get Service " + name + " in namespace " + c.installation}
	case err != nil:
		return nil, err
	}
	if len(service.Spec.Selector) == 0 {
		return nil, &unaskableError{"Service " + name + " in namespace " + c.installation + " selects no Pods that a port is forwarded to"}
	}
	list, err := c.objects.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(c.installation).
		List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String(), Limit: mostPods})
	switch {
	case apierrors.IsForbidden(err):
		return nil, &unaskableError{"you may not list Pods in namespace " + c.installation}
	case err != nil:
		return nil, err
	}
	for i := range list.Items {
		var p corev1.Pod
		if err := refill(&list.Items[i], &p); err != nil {
			return nil, err
		}
		port := portOf(&p)
		if port == 0 || !ready(&p) {
			continue
		}
		to, err := forward.To(c.config, p.Namespace, p.Name, port)
		if err != nil {
			return nil, err
		}
		return &pod{name: p.Namespace + "/" + p.Name, dial: to.Dial}, nil
	}
	return nil, &unaskableError{fmt.Sprintf("none of the %d Pods of Service %s in namespace %s is ready and has a port %s",
		len(list.Items), name, c.installation, loopbackPort)}
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func portOf(pod *corev1.Pod) int32 {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == loopbackPort {
				return port.ContainerPort
			}
		}
	}
	return 0
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
