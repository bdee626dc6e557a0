package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
)

// credentialsRole lets a family read what credentials are made of, in the
// namespaces where it is bound.
const credentialsRole = "sluice-scaler-credentials"

// grant is what a family has to be let read in one namespace, while it is found
// out.
type grant struct {
	secrets, configMaps, accounts, tokens, incomplete map[string]bool
	role                                              string
}

func (c *check) grant(namespace, family string) *grant {
	key := [2]string{namespace, family}
	if c.grants[key] == nil {
		c.grants[key] = &grant{
			secrets: map[string]bool{}, configMaps: map[string]bool{}, accounts: map[string]bool{},
			tokens: map[string]bool{}, incomplete: map[string]bool{},
		}
	}
	return c.grants[key]
}

// allGrants are those of which there is anything, by namespace and family.
func (c *check) allGrants() (all []Grant) {
	keys := slices.SortedFunc(maps.Keys(c.grants), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, key := range keys {
		g := c.grants[key]
		out := Grant{
			Namespace: key[0], Family: key[1], Role: g.role, Secrets: sorted(g.secrets), ConfigMaps: sorted(g.configMaps),
			ServiceAccounts: sorted(g.accounts), Tokens: sorted(g.tokens), Incomplete: sorted(g.incomplete),
		}
		if out.names() || len(out.Tokens) > 0 || out.Role != "" || len(out.Incomplete) > 0 {
			all = append(all, out)
		}
	}
	return all
}

// ByName is the Role that lets a family read what it needs by name, in a namespace.
func ByName(family string) string { return "scaler-" + family + "-by-name" }

// names is whether the family has to be let read anything by name.
func (g Grant) names() bool { return len(g.Secrets)+len(g.ConfigMaps)+len(g.ServiceAccounts) > 0 }

func sorted(names map[string]bool) []string { return slices.Sorted(maps.Keys(names)) }

// partOf is on every object of the installation.
func partOf() map[string]string { return map[string]string{"app.kubernetes.io/part-of": "sluice"} }

// Roles are the objects that grant it all, and no more.
func (o Options) Roles(grants []Grant, targets []TargetKind) (all []any) {
	tokens := map[[2]string][]string{} // families, by namespace and account
	for _, g := range grants {
		account := "scaler-" + g.Family
		switch {
		case o.ByNamespace && (g.names() || len(g.Incomplete) > 0):
			all = append(all, o.binding(g.Namespace, account, "ClusterRole", credentialsRole, account))
		case g.names():
			name := ByName(g.Family)
			all = append(all, role(g.Namespace, name,
				rule("", "secrets", g.Secrets, "get"), rule("", "configmaps", g.ConfigMaps, "get"), rule("", "serviceaccounts", g.ServiceAccounts, "get")),
				o.binding(g.Namespace, name, "Role", name, account))
		}
		if g.Role != "" {
			all = append(all, o.binding(g.Namespace, g.Role, "ClusterRole", g.Role, account))
		}
		for _, minted := range g.Tokens {
			key := [2]string{g.Namespace, minted}
			tokens[key] = append(tokens[key], account)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(tokens), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		// Who may mint a token acts as the account: only this one.
		name := "sluice-token-" + key[1]
		all = append(all, role(key[0], name, rule("", "serviceaccounts/token", []string{key[1]}, "create")),
			o.binding(key[0], name, "Role", name, tokens[key]...))
	}
	for _, t := range targets {
		all = append(all, targetRole(t, "controller", "", []string{"get", "list", "watch"}, []string{"get", "update"}),
			targetRole(t, "metrics-adapter", "-metrics", []string{"get"}, []string{"get"}))
	}
	return all
}

func rule(group, resource string, names []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names, Verbs: verbs}
}

// role has the rules that name anything: one that names nothing would be about
// all of them.
func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: partOf()},
		Rules:      slices.DeleteFunc(rules, func(r rbacv1.PolicyRule) bool { return len(r.ResourceNames) == 0 }),
	}
}

func (o Options) binding(namespace, name, kind, role string, accounts ...string) *rbacv1.RoleBinding {
	b := &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: partOf()},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
	}
	for _, account := range accounts {
		b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: o.Namespace})
	}
	return b
}

// targetRole is aggregated to the role of a process of the core.
func targetRole(t TargetKind, process, suffix string, verbs, scaleVerbs []string) *rbacv1.ClusterRole {
	labels := partOf()
	labels["sluice.dev/aggregate-to-"+process] = "true"
	name := "sluice-" + strings.ReplaceAll(strings.TrimSuffix(t.Resource+"."+t.Group, "."), ".", "-") + suffix
	return &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Rules:      []rbacv1.PolicyRule{rule(t.Group, t.Resource, nil, verbs...), rule(t.Group, t.Resource+"/scale", nil, scaleVerbs...)},
	}
}

// trust is what a cloud has to trust, while it is found out.
type trust struct{ identities, objects map[string]bool }

// trust adds that a trigger uses an identity of its family.
func (c *check) trust(s *subject, i int, family, provider, identity string) {
	key := [2]string{provider, family}
	if c.trusts[key] == nil {
		c.trusts[key] = &trust{identities: map[string]bool{}, objects: map[string]bool{}}
	}
	c.trusts[key].identities[identity] = true
	c.trusts[key].objects[s.Key().String()] = true
	s.of(i, Needs, "", "%s has to trust ServiceAccount %s/scaler-%s", cloudOf(provider), c.Namespace, family)
}

func cloudOf(provider string) string {
	switch provider {
	case "azure-workload":
		return "Entra"
	case "gcp":
		return "Google"
	default:
		return "AWS"
	}
}

// marks are the annotations by which clouds know a ServiceAccount.
var marks = map[string][]string{
	"azure-workload": {"azure.workload.identity/client-id", "azure.workload.identity/tenant-id"},
	"gcp":            {"iam.gke.io/gcp-service-account"},
	"aws":            {"eks.amazonaws.com/role-arn", "eks.amazonaws.com/audience"},
	"aws-eks":        {"eks.amazonaws.com/role-arn", "eks.amazonaws.com/audience"},
}

// allTrust says for each cloud and family what has to be extended.
func (c *check) allTrust(ctx context.Context, live *objects.Cluster) (all []Trust) {
	var annotations map[string]string
	if live != nil && len(c.trusts) > 0 {
		annotations, _ = live.AccountAnnotations(ctx, c.KEDANamespace, c.KEDAAccount) // without them the text is shorter
	}
	keys := slices.SortedFunc(maps.Keys(c.trusts), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, key := range keys {
		provider, family := key[0], key[1]
		t := Trust{
			Provider: provider, Family: family,
			Subject:  fmt.Sprintf("system:serviceaccount:%s:scaler-%s", c.Namespace, family),
			Existing: fmt.Sprintf("system:serviceaccount:%s:%s", c.KEDANamespace, c.KEDAAccount),
			Objects:  sorted(c.trusts[key].objects),
		}
		for _, identity := range sorted(c.trusts[key].identities) {
			if identity != "" {
				t.Identities = append(t.Identities, identity)
			}
		}
		for _, mark := range marks[provider] {
			if value := annotations[mark]; value != "" {
				if t.Annotations == nil {
					t.Annotations = map[string]string{}
				}
				t.Annotations[mark] = value
			}
		}
		t.Text = t.text(c.Namespace)
		all = append(all, t)
	}
	return all
}

// text is what to do.
func (t Trust) text(namespace string) string {
	switch t.Provider {
	case "azure-workload":
		return fmt.Sprintf("add a federated credential with subject %s to the identity that trusts %s, with the same issuer and audience", t.Subject, t.Existing)
	case "gcp":
		return fmt.Sprintf("grant roles/iam.workloadIdentityUser, or the roles themselves, to %s/scaler-%s beside who stands for %s", namespace, t.Family, t.Existing)
	default:
		return fmt.Sprintf("let the role that trusts %s trust %s, too: in its trust policy, or by an EKS Pod Identity association", t.Existing, t.Subject)
	}
}
