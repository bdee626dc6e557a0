package attacks

import (
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tenant makes a namespace and an enemy who may edit it, and no more than that.
// No webhook keeps them from anything.
func tenant(t *testing.T) house {
	t.Helper()
	return tenantOf(newHouse(t, map[string]string{unadmitted: ""}))
}

// admittedTenant is one whose objects the webhook judges.
func admittedTenant(t *testing.T) house {
	t.Helper()
	return tenantOf(newHouse(t, nil))
}

func tenantOf(h house) house {
	h.t.Helper()
	h.bind("edit", rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: mallory})
	h.client = world.tenant
	wait(h.t, mallory+" to be let in", func() (bool, string) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: mallory,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: h.namespace, Verb: "patch", Group: "eventing.keda.sh", Resource: "cloudeventsources",
			},
		}}
		err := world.cluster.Client().Create(h.t.Context(), review)
		return err == nil && review.Status.Allowed, fmt.Sprint(err, review.Status)
	})
	return h
}

// mallory is who every tenant is.
const mallory = "mallory"

// newTenant is a client with mallory's rights.
func newTenant() (client.Client, error) {
	config := world.cluster.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: mallory}
	return client.New(config, client.Options{Scheme: world.cluster.Client().Scheme()})
}
