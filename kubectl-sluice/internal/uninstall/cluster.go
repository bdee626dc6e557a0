package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
)

const (
	// pageSize is how many objects are asked for at once. Their metadata alone
	// is.
	pageSize = 500
	// mostOf is how many objects of a kind are looked at.
	mostOf = 200_000
	// mostTries is how often an object is changed that others change meanwhile.
	mostTries = 10
	// askPeriod is how often it is asked whether something is gone.
	askPeriod = 500 * time.Millisecond
)

// kind is one that Sluice has objects of.
type kind struct {
	group, version, resource, name string
	// optional is one that a cluster may not have.
	optional bool
}

func (k kind) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.group, Version: k.version, Resource: k.resource}
}

var (
	namespaces   = kind{"", "v1", "namespaces", "Namespace", false}
	pods         = kind{"", "v1", "pods", "Pod", false}
	services     = kind{"", "v1", "services", "Service", false}
	secrets      = kind{"", "v1", "secrets", "Secret", false}
	configMaps   = kind{"", "v1", "configmaps", "ConfigMap", false}
	deployments  = kind{"apps", "v1", "deployments", "Deployment", false}
	roles        = kind{"rbac.authorization.k8s.io", "v1", "roles", "Role", false}
	bindings     = kind{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", false}
	apiServices  = kind{"apiregistration.k8s.io", "v1", "apiservices", "APIService", false}
	webhooks     = kind{"admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false}
	leases       = kind{"coordination.k8s.io", "v1", "leases", "Lease", false}
	autoscalers  = kind{"autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", false}
	definitions  = kind{"apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false}
	clusterRoles = kind{"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false}
)

// inNamespace are the kinds that an installation has in its namespace, those that
// run things first.
var inNamespace = []kind{
	deployments,
	{"policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", false},
	services,
	{"networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", false},
	{"cilium.io", "v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy", true},
	{"monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor", true},
	{"monitoring.coreos.com", "v1", "podmonitors", "PodMonitor", true},
	{"monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule", true},
	{"cert-manager.io", "v1", "certificates", "Certificate", true},
	{"cert-manager.io", "v1", "issuers", "Issuer", true},
	secrets,
	configMaps,
	bindings,
	roles,
	leases,
	{"", "v1", "serviceaccounts", "ServiceAccount", false},
}

// ofCluster are the kinds that it has beside them.
var ofCluster = []kind{
	{"cert-manager.io", "v1", "clusterissuers", "ClusterIssuer", true},
	{"rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false},
	clusterRoles,
}

// ofOthers are kinds that keep a namespace from being Sluice's alone, when they
// are not Sluice's.
var ofOthers = []kind{
	deployments,
	{"apps", "v1", "statefulsets", "StatefulSet", false},
	{"apps", "v1", "daemonsets", "DaemonSet", false},
	{"batch", "v1", "cronjobs", "CronJob", false},
	{"batch", "v1", "jobs", "Job", false},
	{"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", false},
	secrets, // of ClusterTriggerAuthentications, say
}

// ofUsers are the kinds of KEDA's API.
var ofUsers = []kind{
	{"keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", true},
	{"keda.sh", "v1alpha1", "scaledjobs", "ScaledJob", true},
	{"keda.sh", "v1alpha1", "triggerauthentications", "TriggerAuthentication", true},
	{"keda.sh", "v1alpha1", "clustertriggerauthentications", "ClusterTriggerAuthentication", true},
	{"eventing.keda.sh", "v1alpha1", "cloudeventsources", "CloudEventSource", true},
	{"eventing.keda.sh", "v1alpha1", "clustercloudeventsources", "ClusterCloudEventSource", true},
}

// Cluster is asked and changed with the rights of whoever asks. Of Secrets
// nothing is read but that they are there.
type Cluster struct {
	objects metadata.Interface
	whole   dynamic.Interface
	server  string
	now     func() time.Time
}

// Connect returns the cluster that a configuration is for.
func Connect(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 200, 400 // a person waits for it
	config.WarningHandler = rest.NoWarnings{}
	answers.Bound(config)
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	whole, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{objects: objects, whole: whole, server: config.Host, now: time.Now}, nil
}

// found is an object, as far as it matters.
type found struct {
	kind kind
	metav1.PartialObjectMetadata
}

// list calls each with the objects of a kind, a page at a time.
func (c *Cluster) list(ctx context.Context, k kind, namespace string, options metav1.ListOptions, each func(*found)) error {
	options.Limit = pageSize
	for count := 0; ; {
		page, err := c.objects.Resource(k.gvr()).Namespace(namespace).List(ctx, options)
		if errors.Is(err, answers.ErrLarge) && options.Limit > 1 {
			options.Limit /= 4
			continue
		}
		if k.optional && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)) {
			return nil
		}
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			// The rest as it is now.
			var status apierrors.APIStatus
			if errors.As(err, &status) && status.Status().Continue != "" {
				options.Continue = status.Status().Continue
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.resource, err)
		}
		if count += len(page.Items); count > mostOf {
			return fmt.Errorf("%s: more than %d", k.resource, mostOf)
		}
		for i := range page.Items {
			page.Items[i].ManagedFields = nil
			each(&found{k, page.Items[i]})
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return nil
		}
	}
}

// get returns an object, nil when there is none.
func (c *Cluster) get(ctx context.Context, k kind, namespace, name string) (*found, error) {
	o, err := c.objects.Resource(k.gvr()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // none is no failure
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", k.name, name, err)
	}
	return &found{k, *o}, nil
}

// read returns all of an object, nil when there is none.
func (c *Cluster) read(ctx context.Context, k kind, name string) (*unstructured.Unstructured, error) {
	o, err := c.whole.Resource(k.gvr()).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // none is no failure
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", k.name, name, err)
	}
	return o, nil
}

// readAll returns all of the objects of a kind that has few.
func (c *Cluster) readAll(ctx context.Context, k kind, options metav1.ListOptions) ([]unstructured.Unstructured, error) {
	var all []unstructured.Unstructured
	options.Limit = pageSize
	for {
		page, err := c.whole.Resource(k.gvr()).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.resource, err)
		}
		if all = append(all, page.Items...); len(all) > mostOf {
			return nil, fmt.Errorf("%s: more than %d", k.resource, mostOf)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return all, nil
		}
	}
}

// heldLeases are the leases by the name that KEDA and Sluice have for theirs.
func (c *Cluster) heldLeases(ctx context.Context) ([]coordinationv1.Lease, error) {
	all, err := c.readAll(ctx, leases, metav1.ListOptions{FieldSelector: "metadata.name=" + leaseName})
	if err != nil {
		return nil, err
	}
	list := make([]coordinationv1.Lease, len(all))
	for i, o := range all {
		text, err := json.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &list[i]); err != nil {
			return nil, fmt.Errorf("lease %s/%s: %w", o.GetNamespace(), o.GetName(), err)
		}
	}
	return list, nil
}

// do carries a step out, or asks whether it might be. What is gone already is
// well.
func (c *Cluster) do(ctx context.Context, s *Step, dry bool) error {
	var asked []string
	if dry {
		asked = []string{metav1.DryRunAll}
	}
	objects := c.objects.Resource(s.kind.gvr()).Namespace(s.Namespace)
	var err error
	switch s.Action {
	case Delete:
		background := metav1.DeletePropagationBackground
		err = objects.Delete(ctx, s.Name, metav1.DeleteOptions{
			DryRun: asked, PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &s.uid},
		})
	case Release:
		err = c.release(ctx, s, asked)
	}
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return err
}

// release takes the finalizer off an object, and leaves those of others.
func (c *Cluster) release(ctx context.Context, s *Step, asked []string) error {
	objects := c.objects.Resource(s.kind.gvr()).Namespace(s.Namespace)
	for try := 1; ; try++ {
		live, err := objects.Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if live.UID != s.uid {
			return nil // another one by now, and somebody's
		}
		rest := []string{}
		for _, name := range live.Finalizers {
			if name != finalizer {
				rest = append(rest, name)
			}
		}
		if len(rest) == len(live.Finalizers) {
			return nil
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": rest, "resourceVersion": live.ResourceVersion}})
		if err != nil {
			return err
		}
		_, err = objects.Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: asked})
		if !apierrors.IsConflict(err) || try == mostTries {
			return err
		}
	}
}

// gone waits until an object is, and says why it is not.
func (c *Cluster) gone(ctx context.Context, k kind, namespace, name string, uid types.UID) error {
	tick := time.NewTicker(askPeriod)
	defer tick.Stop()
	why := "it is still there"
	for {
		o, err := c.whole.Resource(k.gvr()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && o.GetUID() != uid:
			return nil
		case err == nil:
			why = remains(o)
		case ctx.Err() == nil:
			why = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %s", k.name, name, why)
		case <-tick.C:
		}
	}
}

// remains is what an object that is being deleted says of what keeps it.
func remains(o *unstructured.Unstructured) string {
	why := "it is still there"
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range conditions {
		fields, _ := entry.(map[string]any)
		message, _ := fields["message"].(string)
		if o.GetDeletionTimestamp() != nil && fields["status"] == "True" && message != "" {
			why += "; " + message
		}
	}
	return why
}
