package localcluster

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// token is the last one that was issued to a Pod.
type token struct {
	renewAt time.Time
}

// writeToken asks for a token of the Pod's own ServiceAccount, bound to the
// Pod, and writes it when the API server confirms whose it is. A token is
// replaced after four fifths of its life, as by a kubelet.
func (v *volume) writeToken(ctx context.Context, projection *corev1.ServiceAccountTokenProjection) error {
	if v.token != nil && time.Now().Before(v.token.renewAt) {
		return nil
	}
	i := v.files.instance
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: projection.ExpirationSeconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: i.Name(), UID: i.uid,
		},
	}}
	if projection.Audience != "" {
		request.Spec.Audiences = []string{projection.Audience}
	}
	account := i.pod.Spec.ServiceAccountName
	issued, err := i.kubelet.client.CoreV1().ServiceAccounts(i.Namespace()).
		CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("token of ServiceAccount %s: %w", account, err)
	}
	if projection.Audience == "" {
		if err := i.checkOwnToken(ctx, issued.Status.Token); err != nil {
			return err
		}
	}
	if err := v.writeFile(projection.Path, issued.Status.Token, 0o600); err != nil {
		return err
	}
	if err := v.writeTokenKubeconfig(projection.Path); err != nil {
		return err
	}
	life := time.Until(issued.Status.ExpirationTimestamp.Time)
	v.token = &token{renewAt: time.Now().Add(life * 4 / 5)}
	return nil
}

// checkOwnToken refuses a token of anybody else: a program must not run with
// rights that it will not have in production.
func (i *Instance) checkOwnToken(ctx context.Context, bearer string) error {
	config := rest.AnonymousClientConfig(i.kubelet.cluster.config)
	config.BearerToken = bearer
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer httpClient.CloseIdleConnections()
	client, err := kubernetes.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return err
	}
	self, err := client.AuthenticationV1().SelfSubjectReviews().
		Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("whose token is it: %w", err)
	}
	if user := self.Status.UserInfo.Username; user != i.User() {
		return fmt.Errorf("the token is %s's, not %s's", user, i.User())
	}
	return nil
}

// writeTokenKubeconfig serves programs whose token is not where client
// libraries look for it, because they have no root directory of their own.
func (v *volume) writeTokenKubeconfig(tokenName string) error {
	cluster := v.files.instance.kubelet.cluster
	if cluster.Isolated() || v.path != tokenMount {
		return nil
	}
	return writeTokenKubeconfig(v.files.inside("/kubeconfig"), cluster.plane.server(), cluster.plane.pki("ca.crt"),
		v.files.inside(v.path+"/"+tokenName), v.files.instance.Namespace())
}
