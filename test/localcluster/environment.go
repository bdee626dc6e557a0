package localcluster

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// environment is a container's, in the order of its definition.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) list() []string {
	list := make([]string, 0, len(e.names))
	for _, name := range e.names {
		list = append(list, name+"="+e.values[name])
	}
	return list
}

// reference is $(NAME), or $$ for a dollar sign.
var reference = regexp.MustCompile(`\$\$|\$\([-._a-zA-Z0-9]+\)`)

// expand replaces $(NAME) by the variable's value. A name that is not known
// stays as it is, as in Kubernetes.
func expand(text string, env *environment) string {
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		if value, known := env.values[found[2:len(found)-1]]; known {
			return value
		}
		return found
	})
}

// environment resolves the manifest's variables, after those that every
// container has.
func (f *podFiles) environment(ctx context.Context) (*environment, error) {
	env := &environment{values: map[string]string{}}
	env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	env.set("HOSTNAME", f.instance.Name())
	env.set("HOME", "/")
	if f.instance.kubelet.cluster.Isolated() {
		server, err := url.Parse(f.instance.kubelet.cluster.plane.server())
		if err != nil {
			return nil, err
		}
		env.set("KUBERNETES_SERVICE_HOST", server.Hostname())
		env.set("KUBERNETES_SERVICE_PORT", server.Port())
	}
	for _, source := range f.container.EnvFrom {
		if err := f.addSource(ctx, env, source); err != nil {
			return nil, fmt.Errorf("envFrom: %w", err)
		}
	}
	for _, variable := range f.container.Env {
		value, found, err := f.value(ctx, env, variable)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", variable.Name, err)
		}
		if found {
			env.set(variable.Name, value)
		}
	}
	return env, nil
}

func (f *podFiles) addSource(ctx context.Context, env *environment, source corev1.EnvFromSource) error {
	var data map[string]string
	var err error
	switch {
	case source.ConfigMapRef != nil:
		data, err = f.configMap(ctx, source.ConfigMapRef.Name, isTrue(source.ConfigMapRef.Optional))
	case source.SecretRef != nil:
		data, err = f.secret(ctx, source.SecretRef.Name, isTrue(source.SecretRef.Optional))
	}
	for key, value := range data {
		env.set(source.Prefix+key, value)
	}
	return err
}

// value returns found false for an optional reference to nothing.
func (f *podFiles) value(ctx context.Context, env *environment, v corev1.EnvVar) (value string, found bool, err error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return expand(v.Value, env), true, nil
	case from.FieldRef != nil:
		value, err := f.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err := f.resource(from.ResourceFieldRef)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := f.configMap(ctx, ref.Name, isTrue(ref.Optional))
		return pick(data, ref.Name, ref.Key, isTrue(ref.Optional), err)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := f.secret(ctx, ref.Name, isTrue(ref.Optional))
		return pick(data, ref.Name, ref.Key, isTrue(ref.Optional), err)
	default:
		return "", false, fmt.Errorf("kind of valueFrom is not supported")
	}
}

func pick(data map[string]string, name, key string, optional bool, err error) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	value, found := data[key]
	if !found && !optional {
		return "", false, fmt.Errorf("%s has no key %s", name, key)
	}
	return value, found, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// subscript is metadata.labels['x'] or metadata.annotations['x'].
var subscript = regexp.MustCompile(`^metadata\.(labels|annotations)\['(.+)'\]$`)

// field is a value of the downward API.
func (f *podFiles) field(path string) (string, error) {
	pod := f.instance.pod
	if found := subscript.FindStringSubmatch(path); found != nil {
		if found[1] == "labels" {
			return pod.Labels[found[2]], nil
		}
		return pod.Annotations[found[2]], nil
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return f.instance.Address(), nil
	case "status.hostIP", "status.hostIPs":
		return f.instance.kubelet.cluster.Address(), nil
	default:
		return "", fmt.Errorf("field %s is not supported", path)
	}
}

// resource is a limit or request of the container, in units of the divisor,
// rounded up.
func (f *podFiles) resource(ref *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := map[string]corev1.ResourceList{
		"limits": f.container.Resources.Limits, "requests": f.container.Resources.Requests,
	}[kind]
	quantity, found := list[corev1.ResourceName(name)]
	if !found {
		return "", fmt.Errorf("container %s has no %s", f.container.Name, ref.Resource)
	}
	divisor := ref.Divisor.AsApproximateFloat64()
	if divisor == 0 {
		divisor = 1
	}
	return strconv.FormatInt(int64(math.Ceil(quantity.AsApproximateFloat64()/divisor)), 10), nil
}

// secret reads a Secret of the Pod's namespace as the kubelet; the program's
// own rights have no part in it.
func (f *podFiles) secret(ctx context.Context, name string, optional bool) (map[string]string, error) {
	secret, err := f.instance.kubelet.client.CoreV1().Secrets(f.instance.Namespace()).Get(ctx, name, metav1.GetOptions{})
	if optional && apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range secret.Data {
		data[key] = string(value)
	}
	return data, nil
}

func (f *podFiles) configMap(ctx context.Context, name string, optional bool) (map[string]string, error) {
	configMap, err := f.instance.kubelet.client.CoreV1().ConfigMaps(f.instance.Namespace()).Get(ctx, name, metav1.GetOptions{})
	if optional && apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range configMap.Data {
		data[key] = value
	}
	for key, value := range configMap.BinaryData {
		data[key] = string(value)
	}
	return data, nil
}
