package manager

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/admission"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
)

// webhookOff is the address that serves no webhook.
const webhookOff = "0"

// admitting serves the admission webhook, here as on every standby: whoever is
// asked has the same caches.
func admitting(
	ctx context.Context, mgr ctrl.Manager, o Options, targets *target.Client, families admission.Families,
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
		Objects:  mgr.GetClient(),
		Targets:  targets,
		Families: families,
		Strict:   o.StrictAdmission,
		Covers:   o.covers,
		Events:   mgr.GetEventRecorder("keda-admission"),
		Counts:   admission.NewCounts(),
		Log:      slog.New(logr.ToSlogHandler(mgr.GetLogger().WithName("admission"))),
	}
	if err := ctrlmetrics.Registry.Register(hook.Counts); err != nil {
		return err
	}
	host, port, err := splitAddress(o.WebhookAddress)
	if err != nil {
		return err
	}
	server := webhook.NewServer(webhook.Options{Host: host, Port: port, TLSOpts: []func(*tls.Config){
		func(c *tls.Config) { c.GetCertificate = certificate }, o.Serving.Apply,
	}})
	for path, handler := range hook.Handlers(mgr.GetScheme()) {
		server.Register(path, handler)
	}
	return mgr.Add(server)
}

// splitAddress takes "host:port" apart.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("--webhook-bind-address: %q is not an address such as :9443, nor 0 for none", address)
	}
	return host, port, nil
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
