// Package families is what is known of every scaler family: what its process
// prints with --describe, and what its file own.yaml adds to that. Whatever
// installs families, be it kustomize or another packaging, is made from this
// and from nothing else.
package families

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// Family is one of the processes that read event sources.
type Family struct {
	// Name is that of the family's folders, scalers/<name> and
	// deploy/scalers/<name>. Its process is scaler-<name>.
	Name string
	// Types are the trigger types that it serves, each found as the Service
	// scaler-<type>.
	Types []string
	// Credentials is whether any type takes values of a TriggerAuthentication or
	// of the target's environment, so that the family may need the Secrets of
	// the namespaces that it is granted.
	Credentials bool
	Own
}

// Own is what tells a family from the others beside its triggers: its file
// own.yaml. A family without one is as all others are.
type Own struct {
	// Resources replace, one by one, what a container of a family has by default.
	Resources Resources `json:"resources"`
	// Args come after the arguments that all families are started with.
	Args []string `json:"args,omitempty"`
	// ClusterRole is what the family may do with the cluster's objects beside
	// reading authentications and what they refer to.
	ClusterRole *ClusterRole `json:"clusterRole,omitempty"`
}

// Resources are those of the family's container. CPU has no limit.
type Resources struct {
	Requests corev1.ResourceList `json:"requests,omitempty"`
	Limits   corev1.ResourceList `json:"limits,omitempty"`
}

// ClusterRole is named sluice-scaler-<family>.
type ClusterRole struct {
	Granted Granted             `json:"granted"`
	Rules   []rbacv1.PolicyRule `json:"rules"`
}

// Granted is where a family has its ClusterRole.
type Granted string

// Everywhere is in all namespaces, from the start. ByNamespace is in those that
// the installation's administrator grants it, or in all with the component
// <family>-cluster-wide.
const (
	Everywhere  Granted = "everywhere"
	ByNamespace Granted = "by-namespace"
)

// Everywhere is whether the role is granted in all namespaces from the start.
func (r *ClusterRole) Everywhere() bool { return r.Granted == Everywhere }

// ByNamespace is whether the family has a role that each namespace grants it.
func (f Family) ByNamespace() bool {
	return f.ClusterRole != nil && f.ClusterRole.Granted == ByNamespace
}

// defaults is what a thousand triggers take in most families.
func defaults() Own {
	return Own{Resources: Resources{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}}
}

// Read returns the families that described has, one JSON document after the
// other, by name. What is their own is in scalers/<family>/own.yaml.
func Read(described io.Reader, scalers string) ([]Family, error) {
	var list []Family
	for documents := json.NewDecoder(described); ; {
		var d description
		if err := documents.Decode(&d); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("description %d: %w", len(list)+1, err)
		}
		family, err := d.family()
		if err != nil {
			return nil, fmt.Errorf("description %d: %w", len(list)+1, err)
		}
		if family.Own, err = readOwn(filepath.Join(scalers, family.Name, "own.yaml")); err != nil {
			return nil, err
		}
		list = append(list, family)
	}
	if len(list) == 0 {
		return nil, errors.New("no family is described")
	}
	slices.SortFunc(list, func(a, b Family) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// description is as much of sluice.scaler.v1.DescribeResponse as matters here,
// in its JSON form.
type description struct {
	Family       string `json:"family"`
	TriggerTypes []struct {
		Type       string `json:"type"`
		Parameters []struct {
			Sources []string `json:"sources"`
		} `json:"parameters"`
	} `json:"triggerTypes"`
}

func (d description) family() (Family, error) {
	if d.Family == "" || len(d.TriggerTypes) == 0 {
		return Family{}, fmt.Errorf("family %q has %d trigger types", d.Family, len(d.TriggerTypes))
	}
	f := Family{Name: d.Family}
	for _, t := range d.TriggerTypes {
		f.Types = append(f.Types, t.Type)
		for _, p := range t.Parameters {
			f.Credentials = f.Credentials || slices.ContainsFunc(p.Sources, isCredential)
		}
	}
	slices.Sort(f.Types)
	return f, nil
}

func isCredential(source string) bool {
	return source == "VALUE_SOURCE_AUTHENTICATION" || source == "VALUE_SOURCE_ENV"
}

// readOwn returns the defaults, with what the file says in their place.
func readOwn(file string) (Own, error) {
	own := defaults()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return own, nil
	}
	if err != nil {
		return own, err
	}
	if err := yaml.UnmarshalStrict(text, &own); err != nil {
		return own, fmt.Errorf("%s: %w", file, err)
	}
	if r := own.ClusterRole; r != nil && r.Granted != Everywhere && r.Granted != ByNamespace {
		return own, fmt.Errorf("%s: clusterRole.granted: %q is neither %s nor %s", file, r.Granted, Everywhere, ByNamespace)
	}
	return own, nil
}
