package kube

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// account finds who asked in a refusal of the API server.
var account = regexp.MustCompile(`"system:serviceaccount:([^:"]+):([^:"]+)"`)

// failure gives what went wrong its code and says what to do about it.
func (t target) failure(err error) error {
	code := codes.Unavailable
	text := err.Error()
	var transport *url.Error
	switch {
	case status.Code(err) == codes.ResourceExhausted:
		code = codes.ResourceExhausted // our own, see watched
	case apierrors.IsForbidden(err):
		code, text = codes.PermissionDenied, t.refusal(err)
	case apierrors.IsUnauthorized(err):
		code, text = codes.Unauthenticated, "the API server does not accept the token of the ServiceAccount"
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code, text = codes.DeadlineExceeded, "the API server does not answer in time"
	case errors.As(err, &transport):
		text = "API server: " + transport.Err.Error()
	default:
		text = "API server: " + text
	}
	return words.Errorf(code, "%s: %s", t, text)
}

// refusal names who may not do what, and how it is granted.
func (t target) refusal(err error) string {
	who, subject := "the family", "--user=<the family's>"
	if found := account.FindStringSubmatch(err.Error()); found != nil {
		who = fmt.Sprintf("ServiceAccount %s of namespace %s", found[2], found[1])
		subject = fmt.Sprintf("--serviceaccount=%s:%s", found[1], found[2])
	}
	return fmt.Sprintf("%s may not read them; grant it with: kubectl create rolebinding %s --namespace=%s --clusterrole=%s %s",
		who, t.role, t.Namespace, t.role, subject)
}

// String is what a view is of: "configmaps shop/limits", "pods of namespace shop".
func (t target) String() string {
	if t.Name != "" {
		return fmt.Sprintf("%s %s/%s", t.resource, t.Namespace, t.Name)
	}
	return fmt.Sprintf("%s of namespace %s", t.resource, t.Namespace)
}
