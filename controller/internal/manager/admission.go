package manager

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/admission"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// webhookOff is the address that serves no webhook.
const webhookOff = "0"

// addAdmission serves the admission webhook, here as on every standby: whoever is
// asked has the same caches.
func addAdmission(
	ctx context.Context, mgr ctrl.Manager, o Options, targets *target.Client, families rules.Families,
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error),
) error {
	if o.WebhookAddress == webhookOff {
		return nil
	}
	// Nothing else reads them: the first question must not wait for a list.
	if _, err := mgr.GetCache().GetInformer(ctx, &corev1.LimitRange{}); err != nil {
		return err
	}
	hook := &admission.Webhook{
		Judge: rules.Judge{
			Objects: mgr.GetClient(), Targets: targets, Families: families,
			Limits: o.Limits, Strict: o.StrictAdmission,
		},
		Covers: o.covers,
		Counts: admission.NewCounts(mgr.GetClient()), //nolint:contextcheck // a scrape has none
		Log:    slog.New(logr.ToSlogHandler(mgr.GetLogger().WithName("admission"))),
	}
	if err := ctrlmetrics.Registry.Register(guard.Collector(hook.Counts)); err != nil {
		return err
	}
	policy := &tls.Config{GetCertificate: certificate, MinVersion: tls.VersionTLS12}
	o.Serving.Apply(policy)
	return mgr.Add(&admission.Server{
		Address: o.WebhookAddress, TLS: policy, Clients: o.WebhookClients,
		Handlers: hook.Handlers(mgr.GetScheme()), Log: hook.Log,
	})
}

// covers reports whether an object is this installation's: in a namespace that
// it watches and, if it is one that scales, with the labels that it selects.
func (o Options) covers(object client.Object) bool {
	namespace := object.GetNamespace()
	if namespace != "" && len(o.WatchNamespaces) > 0 && !slices.Contains(o.WatchNamespaces, namespace) {
		return false
	}
	switch object.(type) {
	case *v1alpha1.ScaledObject, *v1alpha1.ScaledJob:
		return o.Selector.Matches(labels.Set(object.GetLabels()))
	}
	return true
}
