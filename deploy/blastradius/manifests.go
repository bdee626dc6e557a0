package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

type roleKey struct{ namespace, name string } // no namespace: a ClusterRole

type authenticationKey struct{ kind, namespace, name string }

// manifests are the objects that the report is about.
type manifests struct {
	clusterNamespace string // of Secrets of ClusterTriggerAuthentications
	roles            map[roleKey][]rbacv1.PolicyRule
	bindings         []*rbacv1.RoleBinding
	clusterBindings  []*rbacv1.ClusterRoleBinding
	services         []*corev1.Service
	deployments      []*appsv1.Deployment
	scaled           []*scaled
	authentications  map[authenticationKey]*authentication
}

// scaled is a ScaledObject or ScaledJob, as far as its triggers refer to
// something.
type scaled struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Triggers []struct {
			Type              string                                  `json:"type"`
			AuthenticationRef *struct{ Name, Kind string }            `json:"authenticationRef"`
			SecretKeyRef      []struct{ Parameter, Name, Key string } `json:"secretKeyRef"`
		} `json:"triggers"`
	} `json:"spec"`
}

// authentication is an authentication object. Secrets are wherever its blocks
// name one: as secretTargetRef does, or by secretKeyRef at any depth.
type authentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              map[string]any `json:"spec"`
}

// secrets are those that the object leads to, in the namespace that its
// references count in.
func (a *authentication) secrets(namespace string) []string {
	var names []string
	var walk func(key string, value any)
	walk = func(key string, value any) {
		switch v := value.(type) {
		case map[string]any:
			if name, ok := v["name"].(string); ok && (key == "secretTargetRef" || key == "secretKeyRef") {
				names = append(names, namespace+"/"+name)
			}
			for k, inner := range v {
				walk(k, inner)
			}
		case []any:
			for _, inner := range v {
				walk(key, inner)
			}
		}
	}
	walk("", a.Spec)
	slices.Sort(names)
	return slices.Compact(names)
}

func named(namespace string, refs []struct{ Parameter, Name, Key string }) []string {
	var names []string
	for _, ref := range refs {
		names = append(names, namespace+"/"+ref.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// read decodes YAML or JSON documents; Lists are opened. Kinds that do not
// matter are passed over.
func read(from io.Reader, clusterNamespace string) (*manifests, error) {
	m := &manifests{
		clusterNamespace: clusterNamespace,
		roles:            map[roleKey][]rbacv1.PolicyRule{}, authentications: map[authenticationKey]*authentication{},
	}
	decoder := yaml.NewYAMLOrJSONDecoder(from, 4096)
	for n := 1; ; n++ {
		var document json.RawMessage
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err == nil && len(bytes.TrimSpace(document)) > 0 {
			err = m.add(document)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
	}
}

func (m *manifests) add(document json.RawMessage) error {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Items           []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(document, &head); err != nil {
		return err
	}
	for _, item := range head.Items {
		if err := m.add(item); err != nil {
			return err
		}
	}
	switch head.Kind {
	case "Role", "ClusterRole":
		var role rbacv1.Role // a ClusterRole's rules are the same
		if err := json.Unmarshal(document, &role); err != nil {
			return err
		}
		m.roles[roleKey{role.Namespace, role.Name}] = role.Rules
		return nil
	case "RoleBinding":
		return keep(document, &m.bindings)
	case "ClusterRoleBinding":
		return keep(document, &m.clusterBindings)
	case "Deployment":
		return keep(document, &m.deployments)
	case "Service":
		return keep(document, &m.services)
	case "ScaledObject", "ScaledJob":
		return keep(document, &m.scaled)
	case "TriggerAuthentication", "ClusterTriggerAuthentication":
		a := &authentication{}
		if err := json.Unmarshal(document, a); err != nil {
			return err
		}
		m.authentications[authenticationKey{a.Kind, a.Namespace, a.Name}] = a
	}
	return nil
}

func keep[T any](document json.RawMessage, list *[]*T) error {
	object := new(T)
	if err := json.Unmarshal(document, object); err != nil {
		return err
	}
	*list = append(*list, object)
	return nil
}
