package e2e

import (
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// allowed is what an account may do with Secrets and tokens: its own key, and
// for the controller, which signs, those of others and the authority's.
func allowed(account, verb, namespace, secret string, keys []string) bool {
	own := strings.TrimPrefix(account, "sluice-system/") + "-tls"
	switch {
	case namespace == "sluice-system" && secret == own && (verb == "get" || verb == "watch"):
		return true
	case account == "sluice-system/controller" && namespace == "sluice-system" && slices.Contains(keys, secret):
		return verb == "get" || verb == "update"
	case account == "sluice-system/controller" && namespace == "sluice-pki" && secret == "sluice-ca":
		return verb == "get" || verb == "update"
	}
	return false
}

// TestIsolation asks the API server what every account that we ship may do with
// Secrets and tokens, in each place where there are some. It runs before what
// other scenarios grant.
func TestIsolation(t *testing.T) {
	app := namespace(t)
	api := world.cluster.Client()
	var accounts corev1.ServiceAccountList
	if err := api.List(t.Context(), &accounts, client.MatchingLabels{"app.kubernetes.io/part-of": "sluice"}); err != nil {
		t.Fatal(err)
	}
	var names, keys []string
	for i := range accounts.Items {
		names = append(names, accounts.Items[i].Namespace+"/"+accounts.Items[i].Name)
		keys = append(keys, accounts.Items[i].Name+"-tls")
	}
	if len(names) < 6 || !slices.Contains(names, "sluice-system/controller") || !slices.Contains(names, "sluice-system/metrics-adapter") {
		t.Fatalf("accounts %v", names)
	}
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	questions := 0
	for i, account := range names {
		secrets := []string{keys[i], keys[(i+1)%len(keys)], "controller-tls", "sluice-ca", "orders", ""}
		ask := func(attributes *authorizationv1.ResourceAttributes) bool {
			t.Helper()
			questions++
			place, name, _ := strings.Cut(account, "/")
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:   "system:serviceaccount:" + place + ":" + name,
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + place, "system:authenticated"}, ResourceAttributes: attributes,
			}}
			if err := api.Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			return review.Status.Allowed
		}
		for _, place := range []string{"sluice-system", "sluice-pki", "keda", app, ""} {
			for _, verb := range verbs {
				for _, secret := range secrets {
					got := ask(&authorizationv1.ResourceAttributes{Namespace: place, Verb: verb, Resource: "secrets", Name: secret})
					if want := allowed(account, verb, place, secret, keys); got != want {
						t.Errorf("%s may %s Secret %q in namespace %q: %t, want %t", account, verb, secret, place, got, want)
					}
				}
			}
			for _, subject := range []string{"controller", "scaler-kafka", "default", ""} {
				if ask(&authorizationv1.ResourceAttributes{
					Namespace: place, Verb: "create", Resource: "serviceaccounts", Subresource: "token", Name: subject,
				}) {
					t.Errorf("%s may mint tokens of %q in namespace %q", account, subject, place)
				}
			}
			// Whoever may do these may do anything.
			for _, other := range []string{"pods/exec", "pods", "roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
				resource, sub, _ := strings.Cut(other, "/")
				group := ""
				if strings.Contains(resource, "role") {
					group = "rbac.authorization.k8s.io"
				}
				if ask(&authorizationv1.ResourceAttributes{Namespace: place, Verb: "create", Group: group, Resource: resource, Subresource: sub}) {
					t.Errorf("%s may create %s in namespace %q", account, other, place)
				}
			}
		}
	}
	t.Logf("%d questions about %d accounts", questions, len(names))
}
