package manager

import (
	"context"
	"fmt"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// belief is whether a lease is a KEDA's. Whoever may edit a namespace may hold a
// lease of that name in it, and would stop the scaling of all others; but a KEDA
// is only who may write objects of ours.
type belief struct {
	holder string
	keda   bool
	at     time.Time
}

// kedaAccount is the ServiceAccount of a KEDA whose Pod is not to be seen.
const kedaAccount = "keda-operator"

// believe finds out whether a lease is a KEDA's, once for all looks that come
// within lookPeriod: whoever holds a lease has us look.
func (r *rival) believe(ctx context.Context, lease *coordinationv1.Lease) (belief, error) {
	holder := *lease.Spec.HolderIdentity
	before, known := r.believed[lease.Namespace]
	if known && before.holder == holder && r.now().Sub(before.at) < lookPeriod {
		return before, nil
	}
	account, err := r.account(ctx, lease.Namespace, holder)
	if err != nil {
		return belief{}, err
	}
	b := belief{holder: holder, at: r.now()}
	if b.keda, err = r.writes(ctx, lease.Namespace, account); err != nil {
		return belief{}, err
	}
	if !b.keda && (!known || before.keda) {
		r.log.Warn("a lease of KEDA's name is ignored: its holder may not write ScaledObjects",
			"namespace", lease.Namespace, "serviceAccount", account)
	}
	return b, nil
}

// account is the ServiceAccount of who holds a lease, whose identity begins with
// the Pod's name, unless it is any other text.
func (r *rival) account(ctx context.Context, namespace, holder string) (string, error) {
	pod, _, _ := strings.Cut(holder, "_")
	if len(validation.IsDNS1123Subdomain(pod)) > 0 {
		return kedaAccount, nil
	}
	pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod})
	if err != nil {
		return "", fmt.Errorf("pod %s in namespace %s: %w", pod, namespace, err)
	}
	for i := range pods.Items {
		if pods.Items[i].Name == pod {
			return pods.Items[i].Spec.ServiceAccountName, nil
		}
	}
	return kedaAccount, nil
}

// writes asks the API server whether a ServiceAccount may write ScaledObjects
// wherever ours are. Who may write some of them stops nobody else's.
func (r *rival) writes(ctx context.Context, namespace, account string) (bool, error) {
	watched := r.watched
	if len(watched) == 0 {
		watched = []string{metav1.NamespaceAll}
	}
	for _, where := range watched {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + namespace + ":" + account,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: where, Verb: "update", Group: v1alpha1.GroupVersion.Group, Resource: "scaledobjects", Subresource: "status",
			},
		}}
		answer, err := r.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("rights of ServiceAccount %s in namespace %s: %w", account, namespace, err)
		}
		if !answer.Status.Allowed {
			return false, nil
		}
	}
	return true, nil
}
