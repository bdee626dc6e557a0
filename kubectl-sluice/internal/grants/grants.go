// Package grants says what families may read in which namespaces, what triggers need
// of that, and what is missing.
package grants

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/migrate"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
)

// all stands for every name.
const all = "*"

// Access is what one family may read in one namespace.
type Access struct {
	// Namespace is where, "" for everywhere.
	Namespace string `json:"namespace"`
	Family    string `json:"family"`
	// May is what roles let it read; the name * is all of a kind.
	May migrate.Grant `json:"may"`
	// Needs is what triggers need, and Missing what of that is not granted.
	Needs   migrate.Grant `json:"needs"`
	Missing migrate.Grant `json:"missing"`
}

// Report is what there is to say.
type Report struct {
	Accesses []Access `json:"accesses"`
	// Unread is what could not be read, so that something may be missing or granted
	// that is not told.
	Unread []string `json:"unread,omitempty"`
	// Roles are the objects that grant what is missing, for kubectl apply.
	Roles []any `json:"roles,omitempty"`

	missing []migrate.Grant
}

// Failed reports whether something is missing.
func (r *Report) Failed() bool { return len(r.missing) > 0 }

// key is a namespace and a family.
type key struct{ namespace, family string }

// account is what the ServiceAccount of a family begins with.
const account = "scaler-"

// About returns whether a subject is a family, of an installation in a namespace, or
// has families in it.
func About(installation string) func(rbacv1.Subject) bool {
	return func(s rbacv1.Subject) bool { return len(familiesOf(s, installation, []string{all})) > 0 }
}

// familiesOf are the families that a subject is, or has in it: known are all that
// there are.
func familiesOf(s rbacv1.Subject, installation string, known []string) []string {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if family, is := strings.CutPrefix(s.Name, account); is && s.Namespace == installation {
			return []string{family}
		}
	case rbacv1.UserKind:
		if family, is := strings.CutPrefix(s.Name, "system:serviceaccount:"+installation+":"+account); is {
			return []string{family}
		}
	case rbacv1.GroupKind:
		switch s.Name {
		case "system:serviceaccounts", "system:serviceaccounts:" + installation, "system:authenticated":
			return known
		}
	}
	return nil
}

// granted is what a family may do in a namespace, while it is found out.
type granted struct {
	secrets, configMaps, accounts, tokens map[string]bool
	roles                                 map[string]bool // ClusterRoles
	byName                                []rbacv1.PolicyRule
}

// Of says what follows from what objects need and roles grant. known are the families
// that there are.
func Of(o migrate.Options, needed []migrate.Grant, bound []objects.Bound, known []string) *Report {
	may := map[key]*granted{}
	for _, b := range bound {
		for _, s := range b.Subjects {
			for _, family := range familiesOf(s, o.Namespace, known) {
				k := key{b.Namespace, family}
				if may[k] == nil {
					may[k] = &granted{
						secrets: map[string]bool{}, configMaps: map[string]bool{}, accounts: map[string]bool{}, tokens: map[string]bool{}, roles: map[string]bool{},
					}
				}
				may[k].add(b)
			}
		}
	}
	needs := map[key]migrate.Grant{}
	for _, g := range needed {
		needs[key{g.Namespace, g.Family}] = g
	}
	keys := slices.SortedFunc(maps.Keys(needs), compare)
	for k := range may {
		if _, is := needs[k]; !is {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compare)
	r := &Report{Accesses: []Access{}}
	for _, k := range keys {
		here, everywhere := may[k], may[key{"", k.family}]
		a := Access{Namespace: k.namespace, Family: k.family, Needs: needs[k], May: here.grant(k)}
		a.Missing = missing(a.Needs, here, everywhere)
		if a.May.Words() == "" && a.Needs.Words() == "" && len(a.Needs.Incomplete) == 0 {
			continue // it may do something else
		}
		r.Accesses = append(r.Accesses, a)
		if a.Missing.Words() != "" {
			r.missing = append(r.missing, a.Missing)
		}
	}
	r.Roles = o.Roles(r.toGrant(needs, may), nil)
	return r
}

func compare(a, b key) int {
	return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.family, b.family))
}

// add adds what a binding grants.
func (g *granted) add(b objects.Bound) {
	if b.Role.Kind == "ClusterRole" {
		g.roles[b.Role.Name] = true
	}
	for _, rule := range b.Rules {
		if !has(rule.APIGroups, "") {
			continue
		}
		names := named(rule)
		if len(rule.ResourceNames) == 0 {
			names = []string{all}
		}
		for resource, into := range map[string]map[string]bool{"secrets": g.secrets, "configmaps": g.configMaps, "serviceaccounts": g.accounts} {
			if has(rule.Verbs, "get") && has(rule.Resources, resource) {
				addAll(into, names)
			}
		}
		if has(rule.Verbs, "create") && (has(rule.Resources, "serviceaccounts/token") || slices.Contains(rule.Resources, "*/token")) {
			addAll(g.tokens, names)
		}
	}
	if strings.HasSuffix(b.Role.Name, "-by-name") && b.Role.Kind == "Role" {
		g.byName = append(g.byName, b.Rules...)
	}
}

// named are the names of a rule: none is all of them, and * is no name.
func named(rule rbacv1.PolicyRule) []string {
	return slices.DeleteFunc(slices.Clone(rule.ResourceNames), func(name string) bool { return name == all })
}

func has(list []string, one string) bool {
	return slices.Contains(list, one) || slices.Contains(list, all)
}

func addAll(into map[string]bool, names []string) {
	for _, name := range names {
		into[name] = true
	}
}

// grant is what is granted, as it is told. nil is nothing.
func (g *granted) grant(k key) migrate.Grant {
	told := migrate.Grant{Namespace: k.namespace, Family: k.family}
	if g == nil {
		return told
	}
	told.Secrets, told.ConfigMaps, told.ServiceAccounts, told.Tokens = sorted(g.secrets), sorted(g.configMaps), sorted(g.accounts), sorted(g.tokens)
	if own := "sluice-scaler-" + k.family; g.roles[own] {
		told.Role = own
	}
	return told
}

// sorted are names, * alone where it is all.
func sorted(names map[string]bool) []string {
	if names[all] {
		return []string{all}
	}
	return slices.Sorted(maps.Keys(names))
}

// missing is what of the needs neither grants.
func missing(needs migrate.Grant, grants ...*granted) migrate.Grant {
	grants = slices.DeleteFunc(grants, func(g *granted) bool { return g == nil })
	left := func(names []string, of func(*granted) map[string]bool) (left []string) {
		for _, name := range names {
			if !slices.ContainsFunc(grants, func(g *granted) bool { return of(g)[name] || of(g)[all] }) {
				left = append(left, name)
			}
		}
		return left
	}
	out := migrate.Grant{
		Namespace: needs.Namespace, Family: needs.Family,
		Secrets:         left(needs.Secrets, func(g *granted) map[string]bool { return g.secrets }),
		ConfigMaps:      left(needs.ConfigMaps, func(g *granted) map[string]bool { return g.configMaps }),
		ServiceAccounts: left(needs.ServiceAccounts, func(g *granted) map[string]bool { return g.accounts }),
		Tokens:          left(needs.Tokens, func(g *granted) map[string]bool { return g.tokens }),
	}
	if needs.Role != "" && !slices.ContainsFunc(grants, func(g *granted) bool { return g.roles[needs.Role] }) {
		out.Role = needs.Role
	}
	return out
}

// toGrant is what the objects that are applied have to grant: they take the place of
// those of the same name, which grant what they granted before, too.
func (r *Report) toGrant(needs map[key]migrate.Grant, may map[key]*granted) (all []migrate.Grant) {
	tokens := map[[2]string]bool{} // accounts of namespaces whose tokens somebody lacks
	for _, m := range r.missing {
		for _, name := range m.Tokens {
			tokens[[2]string{m.Namespace, name}] = true
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(needs), compare) {
		n := needs[k]
		g := migrate.Grant{Namespace: k.namespace, Family: k.family}
		for _, m := range r.missing {
			if m.Namespace != k.namespace || m.Family != k.family {
				continue
			}
			g.Role, g.Incomplete = m.Role, n.Incomplete
			if len(m.Secrets)+len(m.ConfigMaps)+len(m.ServiceAccounts) > 0 {
				g.Secrets, g.ConfigMaps, g.ServiceAccounts = with(n.Secrets, may[k], "secrets"), with(n.ConfigMaps, may[k], "configmaps"), with(n.ServiceAccounts, may[k], "serviceaccounts")
			}
		}
		for _, name := range n.Tokens {
			if tokens[[2]string{k.namespace, name}] {
				g.Tokens = append(g.Tokens, name)
			}
		}
		if g.Words() != "" {
			all = append(all, g)
		}
	}
	return all
}

// with adds to names what the Role by name has of a resource.
func with(names []string, g *granted, resource string) []string {
	both := map[string]bool{}
	addAll(both, names)
	if g != nil {
		for _, rule := range g.byName {
			if slices.Contains(rule.Resources, resource) {
				addAll(both, named(rule))
			}
		}
	}
	return slices.Sorted(maps.Keys(both))
}
