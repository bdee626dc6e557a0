package manager

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-autoscaler/sluice/controller/internal/certificates"
	"github.com/sluice-autoscaler/sluice/identity"
)

// keysRequest asks for all keys to be looked after: it is one thing to do.
var keysRequest = client.ObjectKey{Namespace: certificates.Namespace}

// addSigning keeps the keys of all processes: the leader alone signs, when a
// family appears, when a term begins, and from time to time.
func (p *process) addSigning() error {
	if !p.Sign {
		return nil
	}
	// Secrets are read by name and never from a cache, which would list them.
	direct, err := client.New(p.mgr.GetConfig(), client.Options{
		HTTPClient: p.mgr.GetHTTPClient(), Scheme: p.mgr.GetScheme(), Mapper: p.mgr.GetRESTMapper(),
	})
	if err != nil {
		return err
	}
	signer := &certificates.Signer{
		Client: direct, Services: p.federation.Services, Installation: p.Namespace, Clients: p.Clients, Trust: p.Trust, Terms: p.Terms,
		Silent: p.keepsKeys, Now: time.Now, Log: p.named("certificates"),
	}
	return ctrl.NewControllerManagedBy(p.mgr).Named("certificates").
		WatchesRawSource(source.Func(func(ctx context.Context, q queue) error {
			defer q.Add(reconcile.Request{NamespacedName: keysRequest}) // the term may have begun before
			return p.keysDue.attach(ctx, q)
		})).
		WithOptions(controller.Options{RateLimiter: retries()}).
		Complete(againAfterConflict(signing{onLeader{reportingPanics{signer, "certificates", inMetrics}, p.leadership}, p.keepsKeys}))
}

// signing is done by the leader, and in shadow by whoever there is: families are
// asked all the same.
type signing struct {
	onLeader
	shadow func() bool
}

// Reconcile passes a request on.
func (s signing) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if s.shadow() {
		return s.admitting.Reconcile(ctx, request)
	}
	return s.onLeader.Reconcile(ctx, request)
}

// certificateFlags bear KEDA's names as far as KEDA has them.
func (o *Options) certificateFlags(flags *flag.FlagSet) {
	flags.BoolVar(&o.Sign, "enable-cert-rotation", false, "sign and renew the keys of all processes of the installation")
	flags.DurationVar(&o.Terms.Authority, "ca-lifetime", 365*24*time.Hour, "lifetime of the authority that signs them")
	flags.DurationVar(&o.Terms.Certificate, "cert-lifetime", 90*24*time.Hour, "lifetime of a certificate; renewed when a third of it is left")
	flags.DurationVar(&o.Terms.Overlap, "ca-overlap", time.Hour, "how long a new authority is trusted before it signs, and the old one afterwards")
	flags.StringVar(&o.Trust.MetricsService, "metrics-server-service-name", "metrics-adapter", "Service of the metrics adapter")
	flags.BoolVar(&o.Trust.Metrics, "enable-apiservice-patching", true, "keep caBundle of the APIService of external metrics up to date")
	flags.StringVar(&o.Trust.WebhookService, "webhooks-service-name", "keda-admission-webhooks", "Service of the admission webhook")
	flags.StringVar(&o.Trust.WebhookName, "validating-webhook-name", "keda-admission", "ValidatingWebhookConfiguration of the admission webhook")
	flags.BoolVar(&o.Trust.Webhook, "enable-webhook-patching", true, "keep caBundle of its webhooks up to date")
	flags.Func("sign-client", "sign a key for the client <name>.client.<namespace>, in Secret client-<name>-tls; may be repeated", func(name string) error {
		o.Clients = append(o.Clients, name)
		return identity.Client(name).Check()
	})
}

// checkTerms refuses lifetimes under which processes would cease to trust each
// other.
func (o *Options) checkTerms() error {
	var errs []error
	for name, d := range map[string]time.Duration{
		"ca-lifetime": o.Terms.Authority, "cert-lifetime": o.Terms.Certificate, "ca-overlap": o.Terms.Overlap,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("--%s: %s is not greater than 0", name, d))
		}
	}
	if o.Terms.Authority <= 6*o.Terms.Overlap {
		errs = append(errs, fmt.Errorf("--ca-lifetime: %s is not greater than six times --ca-overlap, %s", o.Terms.Authority, o.Terms.Overlap))
	}
	return errors.Join(errs...)
}
