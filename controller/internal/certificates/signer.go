// Package certificates is the authority of an installation. It signs a key for
// each process, renews what comes of age, and tells the API server whom to
// trust. Its own key is the only secret in its care that can do harm.
//
//	authorities.go  the authority and its successor
//	signer.go       the Secrets of the processes
//	trust.go        what the API server is told
package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/authority"
)

const (
	// Namespace has the authority's Secret, which the controller alone reads.
	Namespace = "sluice-pki"
	// authoritySecret is its name.
	authoritySecret = "sluice-ca"
	// rotateAnnotation on it asks for a new authority before its time. It is
	// removed when that has begun.
	rotateAnnotation = "sluice.dev/rotate"

	// lookAgain is how often everything is checked that no event tells of.
	lookAgain = time.Minute
	// tryAgain is the pause after a failure.
	tryAgain = 5 * time.Second
)

// Signer signs. It is a reconciler of one thing, whatever the request says.
type Signer struct {
	// Client reads and writes Secrets by name, without a cache.
	Client client.Client
	// Services are those of the installation's namespace.
	Services func(context.Context) ([]*corev1.Service, error)
	// Installation is the namespace of the core.
	Installation string
	// Clients are named callers beside the core, who get a key each.
	Clients []string
	Trust   Trust
	Terms   Terms
	// Silent keeps the API server from being told whom to trust: what it asks is
	// somebody else's, maybe under the same names. nil is for never.
	Silent func() bool
	Now    func() time.Time
	Log    *slog.Logger

	mu    sync.Mutex
	wrong map[string]string // what was said about each Secret or object
}

// Reconcile brings every key up to date. What goes wrong with one concerns no
// other; it is said once and tried again.
func (s *Signer) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	now := s.Now()
	found, err := s.authorities(ctx, func(a *authorities, rotate bool) error {
		return a.advance(s.Installation, now, s.Terms, rotate)
	})
	if s.say(Namespace+"/"+authoritySecret, err) {
		return reconcile.Result{RequeueAfter: tryAgain}, nil
	}
	failed := false
	requests, err := s.requests(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, r := range requests {
		failed = s.say(s.Installation+"/"+r.Identity.Secret(), s.keep(ctx, found, r, now)) || failed
	}
	if s.Silent == nil || !s.Silent() {
		failed = s.tell(ctx, found.bundle()) || failed
	}
	if failed {
		return reconcile.Result{RequeueAfter: tryAgain}, nil
	}
	found, err = s.authorities(ctx, func(a *authorities, _ bool) error {
		a.retire(now, s.Terms)
		return nil
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	pause := lookAgain
	if due := found.due(s.Terms); !due.IsZero() {
		pause = max(min(pause, due.Sub(now)), time.Second)
	}
	return reconcile.Result{RequeueAfter: pause}, nil
}

// authorities changes the authorities' Secret as asked and returns them.
func (s *Signer) authorities(ctx context.Context, change func(a *authorities, rotate bool) error) (a authorities, err error) {
	secret, err := s.secret(ctx, Namespace, authoritySecret)
	if err != nil {
		return a, err
	}
	if a, err = readAuthorities(secret.Data); err != nil {
		return a, fmt.Errorf("%w; remove its data to have a new authority made", err)
	}
	_, rotate := secret.Annotations[rotateAnnotation]
	if err := change(&a, rotate); err != nil {
		return a, err
	}
	changed, err := a.write(secret.Data)
	if err != nil || !changed {
		return a, err
	}
	delete(secret.Annotations, rotateAnnotation)
	if err := s.Client.Update(ctx, secret); err != nil {
		return a, err
	}
	s.Log.Info("authorities changed", "secret", Namespace+"/"+authoritySecret, "trusted", len(a.old)+1, "next", a.next != nil,
		"expires", a.signer.Certificate.NotAfter)
	return a, nil
}

// requests are the certificates that there have to be: of the core, of every
// family that has a Service, and of named clients.
func (s *Signer) requests(ctx context.Context) ([]authority.Request, error) {
	requests := []authority.Request{
		{Identity: identity.Controller, DNSNames: []string{s.service(s.Trust.WebhookService)}},
		{Identity: identity.MetricsAdapter, DNSNames: []string{s.service(s.Trust.MetricsService)}},
	}
	services, err := s.Services(ctx)
	if err != nil {
		return nil, err
	}
	families := map[string]bool{}
	for _, svc := range services {
		family, secure := federation.SecureFamily(svc)
		if !secure || families[family] {
			continue
		}
		families[family] = true
		requests = append(requests, authority.Request{Identity: identity.Scaler(family)})
	}
	for _, name := range s.Clients {
		requests = append(requests, authority.Request{Identity: identity.Client(name)})
	}
	for i := range requests {
		requests[i].Installation, requests[i].Lifetime = s.Installation, s.Terms.Certificate
	}
	return requests, nil
}

func (s *Signer) service(name string) string { return name + "." + s.Installation + ".svc" }

// keep signs a certificate anew when it has to be, and keeps what its owner
// trusts up to date.
func (s *Signer) keep(ctx context.Context, a authorities, r authority.Request, now time.Time) error {
	if err := r.Identity.Check(); err != nil {
		return err
	}
	secret, err := s.secret(ctx, s.Installation, r.Identity.Secret())
	if err != nil {
		return err
	}
	bundle := a.bundle()
	stale := outdated(a, secret.Data, r, now)
	if !stale && bytes.Equal(secret.Data[identity.AuthoritiesKey], bundle) {
		return nil
	}
	if stale {
		certificate, key, err := a.signer.Sign(r, now)
		if err != nil {
			return err
		}
		secret.Data[identity.CertificateKey], secret.Data[identity.PrivateKeyKey] = certificate, key
	}
	secret.Data[identity.AuthoritiesKey] = bundle
	if err := s.Client.Update(ctx, secret); err != nil {
		return err
	}
	s.Log.Info("key written", "secret", s.Installation+"/"+secret.Name, "identity", r.Identity.In(r.Installation), "signed", stale)
	return nil
}

// outdated reports whether a new certificate is to be signed.
func outdated(a authorities, data map[string][]byte, r authority.Request, now time.Time) bool {
	keys, err := identity.Parse(data, r.Identity.In(r.Installation))
	if err != nil {
		return true
	}
	leaf := keys.Certificate.Leaf
	return !a.signer.Signed(leaf) || late(leaf, now) ||
		!slices.Equal(leaf.DNSNames, r.Names()) || !reflect.DeepEqual(leaf.ExtKeyUsage, r.Usages())
}

// secret reads a Secret, which the manifests brought: that a controller may
// create Secrets cannot be limited to a name.
func (s *Signer) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := s.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret); err != nil {
		return nil, err
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	return secret, nil
}

// say logs what is wrong with something when that has changed, and reports
// whether anything is. That somebody else wrote it first is nothing wrong with
// it: it is only to be looked at again.
func (s *Signer) say(what string, err error) (wrong bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if s.wrong[what] == text || errors.Is(err, context.Canceled) || apierrors.IsConflict(err) {
		return err != nil
	}
	if s.wrong == nil {
		s.wrong = map[string]string{}
	}
	s.wrong[what] = text
	if err != nil {
		s.Log.Error("cannot keep what processes trust up to date", "object", what, "error", text)
	}
	return err != nil
}
