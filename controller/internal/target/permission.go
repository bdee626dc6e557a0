package target

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

// PermissionError says that the controller may not scale objects of a kind, and
// what grants it.
type PermissionError struct {
	Kind v1alpha1.GroupVersionKindResource
	// Err is the API server's, nil when it was asked beforehand.
	Err error
}

func (e *PermissionError) Error() string {
	resource := strings.TrimSuffix(e.Kind.Resource+"."+e.Kind.Group, ".")
	name := "sluice-" + strings.ReplaceAll(resource, ".", "-")
	return fmt.Sprintf("the controller may not get and update %s/scale: kubectl create clusterrole %s --verb=get,list,watch,update --resource=%s,%s/scale && kubectl label clusterrole %s sluice.dev/aggregate-to-controller=true",
		resource, name, resource, resource, name)
}

func (e *PermissionError) Unwrap() error { return e.Err }

// notGranted says how to grant what the API server refuses. The controller is
// installed with the permissions for usual kinds.
func notGranted(err error, kind v1alpha1.GroupVersionKindResource) error {
	if !apierrors.IsForbidden(err) || kinds.Usual(kind) {
		return err
	}
	return &PermissionError{Kind: kind, Err: err}
}

// Granted asks the API server whether objects of a kind may be scaled in a
// namespace. It returns a PermissionError when they may not, and nil when they
// may or the API server does not say.
func (c *Client) Granted(ctx context.Context, kind v1alpha1.GroupVersionKindResource, namespace string) error {
	if kinds.Usual(kind) {
		return nil
	}
	for _, verb := range []string{"get", "update"} {
		if ok, err := allowed(ctx, c.Reader, kind, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Subresource: "scale"}); err == nil && !ok {
			return &PermissionError{Kind: kind}
		}
	}
	return nil
}

// allowed asks the API server whether the controller may do something with
// objects of a kind.
func allowed(ctx context.Context, api client.Client, kind v1alpha1.GroupVersionKindResource, what authorizationv1.ResourceAttributes) (bool, error) {
	what.Group, what.Version, what.Resource = kind.Group, kind.Version, kind.Resource
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	err := api.Create(ctx, review)
	return review.Status.Allowed, err
}
