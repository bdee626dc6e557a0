package grants

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/migrate"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rule(verb, resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{verb}, ResourceNames: names}
}

func bound(namespace, kind, role string, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) objects.Bound {
	return objects.Bound{Namespace: namespace, Role: rbacv1.RoleRef{Kind: kind, Name: role}, Subjects: []rbacv1.Subject{subject}, Rules: rules}
}

var kafka = rbacv1.Subject{Kind: "ServiceAccount", Namespace: "sluice-system", Name: "scaler-kafka"}

// TestMissing: what is granted by whatever role, here or everywhere, is not missing,
// and nothing else is taken for it.
func TestMissing(t *testing.T) {
	needs := migrate.Grant{Namespace: "shop", Family: "kafka", Secrets: []string{"a", "b"}, ConfigMaps: []string{"c"}, Tokens: []string{"reader"}}
	everything := "Secrets a, b; ConfigMaps c; tokens of reader"
	for name, tt := range map[string]struct {
		bound []objects.Bound
		lacks string
	}{
		"nothing": {nil, everything},
		"by name": {[]objects.Bound{bound("shop", "Role", "any", kafka, rule("get", "secrets", "a"), rule("get", "configmaps", "c"))}, "Secrets b; tokens of reader"},
		"all of it": {[]objects.Bound{
			bound("shop", "ClusterRole", "sluice-scaler-credentials", kafka, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps"}, Verbs: []string{"get"}}),
			bound("shop", "Role", "token", kafka, rule("create", "serviceaccounts/token", "reader")),
		}, ""},
		"everywhere":     {[]objects.Bound{bound("", "ClusterRole", "admin", kafka, rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}})}, ""},
		"as a user":      {[]objects.Bound{bound("shop", "Role", "any", rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:sluice-system:scaler-kafka"}, rule("get", "secrets"))}, "ConfigMaps c; tokens of reader"},
		"as a group":     {[]objects.Bound{bound("shop", "Role", "any", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:sluice-system"}, rule("get", "secrets"))}, "ConfigMaps c; tokens of reader"},
		"elsewhere":      {[]objects.Bound{bound("other", "Role", "any", kafka, rule("get", "secrets"))}, everything},
		"to another":     {[]objects.Bound{bound("shop", "Role", "any", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "shop", Name: "scaler-kafka"}, rule("get", "secrets"))}, everything},
		"a star's name":  {[]objects.Bound{bound("shop", "Role", "any", kafka, rule("get", "secrets", "*"))}, everything},
		"another verb":   {[]objects.Bound{bound("shop", "Role", "any", kafka, rule("list", "secrets"))}, everything},
		"another group":  {[]objects.Bound{bound("shop", "Role", "any", kafka, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"get"}})}, everything},
		"a role without": {[]objects.Bound{bound("shop", "Role", "gone", kafka)}, everything},
	} {
		r := Of(migrate.Options{Namespace: "sluice-system"}, []migrate.Grant{needs}, tt.bound, []string{"kafka"})
		lacks := ""
		for _, a := range r.Accesses {
			lacks += a.Missing.Words()
		}
		if lacks != tt.lacks || r.Failed() != (tt.lacks != "") || (len(r.Roles) > 0) != (tt.lacks != "") {
			t.Errorf("%s: lacks %q, want %q; roles %v", name, lacks, tt.lacks, r.Roles)
		}
	}
}

// TestRolesTakeNothingAway: what is applied takes the place of what has its name.
func TestRolesTakeNothingAway(t *testing.T) {
	needs := []migrate.Grant{
		{Namespace: "shop", Family: "kafka", Secrets: []string{"a", "new"}, Tokens: []string{"reader"}},
		{Namespace: "shop", Family: "redis", Tokens: []string{"reader"}},
		{Namespace: "shop", Family: "kubernetes", Role: "sluice-scaler-kubernetes"},
	}
	granted := []objects.Bound{
		bound("shop", "Role", migrate.ByName("kafka"), kafka, rule("get", "secrets", "a", "of-a-trigger-to-come")),
		bound("shop", "Role", "sluice-token-reader", kafka, rule("create", "serviceaccounts/token", "reader")),
	}
	r := Of(migrate.Options{Namespace: "sluice-system"}, needs, granted, nil)
	var text bytes.Buffer
	if err := r.PrintRoles(&text); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		"resourceNames:\n  - a\n  - new\n  - of-a-trigger-to-come\n", "name: scaler-kafka\n  namespace: sluice-system\n- kind: ServiceAccount\n  name: scaler-redis\n",
		"kind: ClusterRole\n  name: sluice-scaler-kubernetes\n",
	} {
		if !strings.Contains(text.String(), says) {
			t.Errorf("%q is not in\n%s", says, &text)
		}
	}
	text.Reset()
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		"Namespace shop\n  kafka may read Secrets a, of-a-trigger-to-come; tokens of reader\n  - needs Secrets a, new; tokens of reader\n  - MISSING Secrets new\n",
		"  redis may read nothing of users\n  - needs tokens of reader\n  - MISSING tokens of reader\n", "--roles prints",
	} {
		if !strings.Contains(text.String(), says) {
			t.Errorf("%q is not in\n%s", says, &text)
		}
	}
}

// TestBindingsOfFamilies: those of others are not kept, and what may not be read is
// said.
func TestBindingsOfFamilies(t *testing.T) {
	const group = "/apis/rbac.authorization.k8s.io/v1"
	binding := func(namespace, kind, role, account string) string {
		return fmt.Sprintf(`{"metadata": {"name": "x", "namespace": %q}, "roleRef": {"kind": %q, "name": %q},
			"subjects": [{"kind": "ServiceAccount", "namespace": "sluice-system", "name": %q}]}`, namespace, kind, role, account)
	}
	a := &apitest.API{T: t, Forbidden: map[string]bool{}, Objects: map[string]string{
		group + "/namespaces/shop/rolebindings": `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBindingList", "items": [` + strings.Join([]string{
			binding("shop", "Role", "own", "scaler-kafka"), binding("shop", "Role", "other", "controller"), binding("shop", "Role", "gone", "scaler-redis"),
		}, ",") + `]}`,
		group + "/clusterrolebindings":       `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBindingList", "items": [` + binding("", "ClusterRole", "all", "scaler-sql") + `]}`,
		group + "/namespaces/shop/roles/own": `{"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}`,
		group + "/clusterroles/all":          `{"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}`,
	}}
	live, err := objects.Connect(a.Start())
	if err != nil {
		t.Fatal(err)
	}
	all, unread, err := live.Bindings(t.Context(), "shop", About("sluice-system"))
	if err != nil || unread != nil || len(all) != 3 || len(all[0].Rules) != 1 || len(all[1].Rules) != 0 || all[2].Namespace != "" || len(all[2].Rules) != 1 {
		t.Errorf("%+v, %v, %v", all, unread, err)
	}
	a.Forbidden[group+"/clusterrolebindings"] = true
	if all, unread, err := live.Bindings(t.Context(), "shop", About("sluice-system")); err != nil || unread == nil || len(all) != 2 {
		t.Errorf("%+v, %v, %v", all, unread, err)
	}
	a.Forbidden[group+"/rolebindings"] = true
	if _, _, err := live.Bindings(t.Context(), "", About("sluice-system")); err == nil || !strings.Contains(err.Error(), "-n asks for one") {
		t.Error(err)
	}
}
