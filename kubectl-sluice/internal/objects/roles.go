package objects

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Bound is who may do what.
type Bound struct {
	// Namespace is where, "" for everywhere.
	Namespace string
	Role      rbacv1.RoleRef
	Subjects  []rbacv1.Subject
	Rules     []rbacv1.PolicyRule
}

// Bindings are what roles grant in one namespace or, with "", in all. Only those
// bindings are kept of which a subject is asked for. What is granted everywhere comes
// with it, unless that may not be read, which unread says.
func (c *Cluster) Bindings(ctx context.Context, namespace string, about func(rbacv1.Subject) bool) (all []Bound, unread error, err error) {
	r := &roles{cluster: c, about: about, rules: map[[2]string][]rbacv1.PolicyRule{}}
	if err := r.bindings(ctx, "rolebindings", namespace); err != nil {
		if apierrors.IsForbidden(err) && namespace == "" {
			return nil, nil, fmt.Errorf("you may not list rolebindings in all namespaces; -n asks for one: %w", err)
		}
		return nil, nil, fmt.Errorf("rolebindings: %w", err)
	}
	if err := r.bindings(ctx, "clusterrolebindings", ""); err != nil {
		unread = fmt.Errorf("clusterrolebindings: %w", err)
	}
	for i := range r.all {
		b := &r.all[i]
		rules, err := r.of(ctx, b)
		switch {
		case err == nil:
			b.Rules = rules
		case apierrors.IsNotFound(err): // it grants nothing
		default:
			unread = errors.Join(unread, fmt.Errorf("%s %s: %w", b.Role.Kind, b.Role.Name, err))
		}
	}
	return r.all, unread, ctx.Err()
}

// roles are those that were read.
type roles struct {
	cluster *Cluster
	about   func(rbacv1.Subject) bool
	all     []Bound
	rules   map[[2]string][]rbacv1.PolicyRule // by namespace and name
	refused map[[2]string]error
}

func ofRBAC(resource string) schema.GroupVersionResource {
	return rbacv1.SchemeGroupVersion.WithResource(resource)
}

func (r *roles) bindings(ctx context.Context, resource, namespace string) error {
	return r.cluster.pages(ctx, ofRBAC(resource), namespace, func(item *unstructured.Unstructured) error {
		var b rbacv1.RoleBinding // a ClusterRoleBinding has the same fields
		bytes, err := refill(item, &b)
		if err != nil {
			return err
		}
		var about []rbacv1.Subject
		for _, s := range b.Subjects {
			if r.about(s) {
				about = append(about, s)
			}
		}
		if len(about) == 0 {
			return nil
		}
		r.all = append(r.all, Bound{Namespace: item.GetNamespace(), Role: b.RoleRef, Subjects: about})
		return r.cluster.keep(bytes)
	})
}

// of are the rules of a role, read once.
func (r *roles) of(ctx context.Context, b *Bound) ([]rbacv1.PolicyRule, error) {
	resource, namespace := "clusterroles", ""
	if b.Role.Kind == "Role" {
		resource, namespace = "roles", b.Namespace
	}
	key := [2]string{namespace, b.Role.Name}
	if rules, read := r.rules[key]; read || r.refused[key] != nil {
		return rules, r.refused[key]
	}
	var role rbacv1.ClusterRole // a Role has the same fields
	bytes, err := r.cluster.fill(ctx, ofRBAC(resource), client.ObjectKey{Namespace: namespace, Name: b.Role.Name}, &role)
	if err == nil {
		err = r.cluster.keep(bytes)
	}
	if err != nil {
		if r.refused == nil {
			r.refused = map[[2]string]error{}
		}
		r.refused[key] = err
		return nil, err
	}
	r.rules[key] = role.Rules
	return role.Rules, nil
}

// fill reads one object.
func (c *Cluster) fill(ctx context.Context, resource schema.GroupVersionResource, key client.ObjectKey, into client.Object) (bytes int, err error) {
	got, err := c.objects.Resource(resource).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	return refill(got, into)
}
