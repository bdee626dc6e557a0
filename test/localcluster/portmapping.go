package localcluster

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// portMapping makes an installation fit on one address: every port of every
// Deployment becomes a free one of 127.0.0.1, and the Services in front become
// ExternalName Services of "localhost". It is what is left without networks;
// with them nothing is rewritten.
type portMapping struct {
	deployments []mappedDeployment
	services    map[string]map[int64]int64 // namespace/name -> Service port -> port on localhost
}

type mappedDeployment struct {
	namespace string
	labels    labels.Set
	byNumber  map[int32]int32
	byName    map[string]int32
}

func newPortMapping() *portMapping {
	return &portMapping{services: map[string]map[int64]int64{}}
}

// assign gives a Deployment one instance with ports of its own, and tells the
// program through its arguments.
func (m *portMapping) assign(deployment *appsv1.Deployment) error {
	one := int32(1)
	if deployment.Spec.Replicas == nil || *deployment.Spec.Replicas > 1 {
		deployment.Spec.Replicas = &one
	}
	// Two instances would want the same ports during a rolling update.
	deployment.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	container := &deployment.Spec.Template.Spec.Containers[0]
	free, err := freePorts("127.0.0.1", len(container.Ports))
	if err != nil {
		return err
	}
	mapped := mappedDeployment{
		namespace: deployment.Namespace,
		labels:    maps.Clone(deployment.Spec.Template.Labels),
		byNumber:  map[int32]int32{},
		byName:    map[string]int32{},
	}
	for i := range container.Ports {
		port := &container.Ports[i]
		mapped.byNumber[port.ContainerPort] = int32(free[i])
		mapped.byName[port.Name] = int32(free[i])
		port.ContainerPort = int32(free[i])
	}
	for i, arg := range container.Args {
		container.Args[i] = mapped.rewriteArg(arg)
	}
	if slices.ContainsFunc(container.Args, func(arg string) bool { return strings.HasPrefix(arg, "--loopback-address=") }) {
		// A family, whose event sources are on this address, too.
		container.Args = append(container.Args, "--allow-source-address=127.0.0.1")
	}
	if probe := container.ReadinessProbe; probe != nil {
		mapped.rewriteProbe(probe.HTTPGet != nil, func() *intstr.IntOrString { return &probe.HTTPGet.Port })
		mapped.rewriteProbe(probe.TCPSocket != nil, func() *intstr.IntOrString { return &probe.TCPSocket.Port })
		if probe.GRPC != nil {
			if port, known := mapped.byNumber[probe.GRPC.Port]; known {
				probe.GRPC.Port = port
			}
		}
	}
	m.deployments = append(m.deployments, mapped)
	return nil
}

func (d *mappedDeployment) rewriteProbe(there bool, port func() *intstr.IntOrString) {
	if !there || port().Type != intstr.Int {
		return
	}
	if mapped, known := d.byNumber[port().IntVal]; known {
		*port() = intstr.FromInt32(mapped)
	}
}

// portArg is an argument that ends in a port: "--secure-port=6443" or
// "--grpc-address=:9090".
var portArg = regexp.MustCompile(`^(.*[:=])(\d+)$`)

func (d *mappedDeployment) rewriteArg(arg string) string {
	found := portArg.FindStringSubmatch(arg)
	if found == nil {
		return arg
	}
	number, err := strconv.ParseInt(found[2], 10, 32)
	if err != nil {
		return arg
	}
	if port, known := d.byNumber[int32(number)]; known {
		return found[1] + strconv.Itoa(int(port))
	}
	return arg
}

// rewrite changes the Services of the Deployments, and what names their ports.
func (m *portMapping) rewrite(objects []*unstructured.Unstructured) {
	for _, object := range objects {
		if object.GetKind() == "Service" {
			m.rewriteService(object)
		}
	}
	for _, object := range objects {
		switch object.GetKind() {
		case "APIService":
			m.rewriteReference(object.Object, "spec", "service")
		case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
			m.rewriteWebhooks(object.Object)
		}
	}
}

func (m *portMapping) rewriteService(object *unstructured.Unstructured) {
	selector, _, _ := unstructured.NestedStringMap(object.Object, "spec", "selector")
	var behind *mappedDeployment
	for i := range m.deployments {
		d := &m.deployments[i]
		if d.namespace == object.GetNamespace() && len(selector) > 0 && labels.SelectorFromSet(selector).Matches(d.labels) {
			behind = d
		}
	}
	if behind == nil {
		return
	}
	mapping := map[int64]int64{}
	ports, _, _ := unstructured.NestedSlice(object.Object, "spec", "ports")
	for _, entry := range ports {
		port, _ := entry.(map[string]any)
		number, _ := port["port"].(int64)
		mapped := behind.target(port["targetPort"], number)
		mapping[number] = int64(mapped)
		port["port"] = int64(mapped)
		delete(port, "targetPort")
	}
	m.services[object.GetNamespace()+"/"+object.GetName()] = mapping
	object.Object["spec"] = map[string]any{
		"type": "ExternalName", "externalName": "localhost", "ports": ports,
	}
}

// target is the port on localhost behind a Service's port.
func (d *mappedDeployment) target(targetPort any, number int64) int32 {
	switch target := targetPort.(type) {
	case string:
		return d.byName[target]
	case int64:
		return d.byNumber[int32(target)]
	default:
		return d.byNumber[int32(number)]
	}
}

// rewriteReference changes the port of a reference {namespace, name, port};
// without a port it means 443.
func (m *portMapping) rewriteReference(object map[string]any, path ...string) {
	reference, found, _ := unstructured.NestedMap(object, path...)
	if !found {
		return
	}
	port, given := reference["port"].(int64)
	if !given {
		port = 443
	}
	mapping := m.services[fmt.Sprintf("%v/%v", reference["namespace"], reference["name"])]
	if mapped, known := mapping[port]; known {
		reference["port"] = mapped
		_ = unstructured.SetNestedMap(object, reference, path...) // the path was there a line ago
	}
}

func (m *portMapping) rewriteWebhooks(object map[string]any) {
	webhooks, _, _ := unstructured.NestedSlice(object, "webhooks")
	for _, entry := range webhooks {
		if webhook, ok := entry.(map[string]any); ok {
			m.rewriteReference(webhook, "clientConfig", "service")
		}
	}
	object["webhooks"] = webhooks
}
