// Command blastradius reads manifests, or what `kubectl get -o yaml` prints of a
// cluster, and tells who could take what with them: which ServiceAccounts may
// read which Secrets or mint tokens, and which family uses the Secrets of which
// authentication object.
package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// Access is one thing that an account may do.
type Access struct {
	// Account is "<namespace>/<name>" of a ServiceAccount, or a group or user.
	Account string `json:"account"`
	// Verbs are what it may do with what.
	Verbs []string `json:"verbs"`
	// Resource is "secrets" or "serviceaccounts/token".
	Resource string `json:"resource"`
	// Namespace is where; "*" for everywhere.
	Namespace string `json:"namespace"`
	// Names are which; "*" for all.
	Names []string `json:"names"`
	// Through is the binding that grants it.
	Through string `json:"through"`
}

// Use is one authentication object as a trigger of some family uses it.
type Use struct {
	// Family is the one that serves the trigger, or "type <type>" where no
	// Service says.
	Family string `json:"family"`
	// Trigger is "<kind> <namespace>/<name> trigger <index> (<type>)".
	Trigger string `json:"trigger"`
	// Authentication is "<kind> <name>"; "" for a Secret named in the trigger.
	Authentication string `json:"authentication"`
	// Secrets are "<namespace>/<name>", none for one that needs no Secret.
	Secrets []string `json:"secrets"`
}

// Identity is the one that a family itself has in a cloud, as far as its flags
// tell who may use it.
type Identity struct {
	// Account is "<namespace>/<name>" of the ServiceAccount.
	Account string `json:"account"`
	// Namespaces are those whose objects may use it; "*" for all.
	Namespaces []string `json:"namespaces"`
	// Hosts are shown it beside the services of its cloud.
	Hosts []string `json:"hosts"`
}

// Report is the whole answer.
type Report struct {
	Access     []Access   `json:"access"`
	Identities []Identity `json:"identities"`
	Uses       []Use      `json:"uses"`
}

// identities are those of the families among the Deployments.
func (m *manifests) identities() []Identity {
	var found []Identity
	for _, d := range m.deployments {
		pod := d.Spec.Template.Spec
		if !strings.HasPrefix(d.Name, "scaler-") || len(pod.Containers) == 0 {
			continue
		}
		identity := Identity{Account: d.Namespace + "/" + cmp.Or(pod.ServiceAccountName, "default")}
		all := true
		for _, arg := range pod.Containers[0].Args {
			if list, given := strings.CutPrefix(arg, "--identity-namespaces="); given {
				all = false
				identity.Namespaces = append(identity.Namespaces, split(list)...)
			}
			if list, given := strings.CutPrefix(arg, "--identity-hosts="); given {
				identity.Hosts = append(identity.Hosts, split(list)...)
			}
		}
		if all {
			identity.Namespaces = []string{"*"}
		}
		found = append(found, identity)
	}
	slices.SortFunc(found, func(a, b Identity) int { return cmp.Compare(a.Account, b.Account) })
	return found
}

func split(list string) []string {
	var some []string
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			some = append(some, entry)
		}
	}
	return some
}

// access lists what bindings grant on Secrets and tokens.
func (m *manifests) access() []Access {
	var found []Access
	add := func(through, namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		roleNamespace := namespace
		if ref.Kind == "ClusterRole" {
			roleNamespace = ""
		}
		for _, rule := range m.roles[roleKey{roleNamespace, ref.Name}] {
			for _, resource := range []string{"secrets", "serviceaccounts/token"} {
				if !concerns(rule, resource) {
					continue
				}
				for _, subject := range subjects {
					found = append(found, Access{
						Account: accountOf(subject), Verbs: rule.Verbs, Resource: resource,
						Namespace: cmp.Or(namespace, "*"), Names: orAll(rule.ResourceNames), Through: through,
					})
				}
			}
		}
	}
	for _, b := range m.clusterBindings {
		add("ClusterRoleBinding "+b.Name, "", b.RoleRef, b.Subjects)
	}
	for _, b := range m.bindings {
		add("RoleBinding "+b.Namespace+"/"+b.Name, b.Namespace, b.RoleRef, b.Subjects)
	}
	slices.SortFunc(found, func(a, b Access) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Namespace, b.Namespace), slices.Compare(a.Names, b.Names), slices.Compare(a.Verbs, b.Verbs))
	})
	return found
}

// concerns reports whether a rule is about a resource of the core group.
func concerns(rule rbacv1.PolicyRule, resource string) bool {
	has := func(list []string, wanted ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return s == "*" || slices.Contains(wanted, s) })
	}
	_, sub, _ := strings.Cut(resource, "/")
	return has(rule.APIGroups, "") && has(rule.Resources, resource, "*/"+sub)
}

func accountOf(s rbacv1.Subject) string {
	if s.Kind == rbacv1.ServiceAccountKind {
		return s.Namespace + "/" + s.Name
	}
	return strings.ToLower(s.Kind) + " " + s.Name
}

func orAll(names []string) []string {
	if len(names) == 0 {
		return []string{"*"}
	}
	return names
}

// uses lists what triggers refer to.
func (m *manifests) uses() []Use {
	var found []Use
	for _, o := range m.scaled {
		for i, t := range o.Spec.Triggers {
			where := fmt.Sprintf("%s %s/%s trigger %d (%s)", o.Kind, o.Namespace, o.Name, i, t.Type)
			if len(t.SecretKeyRef) > 0 {
				found = append(found, Use{Family: m.familyOf(t.Type), Trigger: where, Secrets: named(o.Namespace, t.SecretKeyRef)})
			}
			if t.AuthenticationRef == nil {
				continue
			}
			kind := cmp.Or(t.AuthenticationRef.Kind, "TriggerAuthentication")
			namespace, secrets := o.Namespace, []string(nil)
			if kind == "ClusterTriggerAuthentication" {
				namespace = ""
			}
			if a := m.authentications[authenticationKey{kind, namespace, t.AuthenticationRef.Name}]; a != nil {
				if kind == "ClusterTriggerAuthentication" && a.Annotations["sluice.dev/secret-namespace"] == "object" {
					namespace = o.Namespace
				}
				secrets = a.secrets(cmp.Or(namespace, m.clusterNamespace))
			}
			found = append(found, Use{Family: m.familyOf(t.Type), Trigger: where, Authentication: kind + " " + t.AuthenticationRef.Name, Secrets: secrets})
		}
	}
	slices.SortFunc(found, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Trigger, b.Trigger))
	})
	return found
}

// familyOf is the family behind a type, as its Service says.
func (m *manifests) familyOf(triggerType string) string {
	i := slices.IndexFunc(m.services, func(s *corev1.Service) bool { return s.Name == "scaler-"+triggerType })
	if i < 0 {
		return "type " + triggerType
	}
	return cmp.Or(m.services[i].Labels["sluice.dev/family"], triggerType)
}

// table prints the report for people.
func (r Report) table(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tMAY\tRESOURCE\tNAMESPACE\tNAMES\tTHROUGH")
	for _, a := range r.Access {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Account, strings.Join(a.Verbs, ","), a.Resource, a.Namespace, strings.Join(a.Names, ","), a.Through)
	}
	fmt.Fprintln(w, "\nIDENTITY IN CLOUDS\tUSED BY OBJECTS OF\tSHOWN TO OTHERS AT")
	for _, i := range r.Identities {
		who := cmp.Or(strings.Join(i.Namespaces, ","), "-")
		if slices.Equal(i.Namespaces, []string{"*"}) {
			who = "every namespace: --identity-namespaces limits it"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", i.Account, who, cmp.Or(strings.Join(i.Hosts, ","), "-"))
	}
	fmt.Fprintln(w, "\nFAMILY\tTRIGGER\tAUTHENTICATION\tSECRETS")
	for _, u := range r.Uses {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Family, u.Trigger, cmp.Or(u.Authentication, "-"), cmp.Or(strings.Join(u.Secrets, ","), "-"))
	}
	return w.Flush()
}
