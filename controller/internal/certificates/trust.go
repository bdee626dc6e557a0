package certificates

import (
	"context"
	"encoding/base64"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metricsAPI is the APIService of external metrics. There is one in a cluster.
const metricsAPI = "v1beta1.external.metrics.k8s.io"

var (
	apiServiceKind = schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}
	webhookKind    = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}
)

// Trust is where the API server is told whose certificates to accept. Objects
// that are not there, or lead to somebody else's Service, are left alone.
type Trust struct {
	// MetricsService is the metrics adapter's Service; Metrics lets its
	// APIService be kept up to date.
	MetricsService string
	Metrics        bool
	// WebhookService is the webhook's Service, WebhookName the configuration
	// with its webhooks; Webhook lets that be kept up to date.
	WebhookService, WebhookName string
	Webhook                     bool
}

// tell writes bundle wherever the API server looks for it, and reports whether
// that failed somewhere.
func (s *Signer) tell(ctx context.Context, bundle []byte) (failed bool) {
	text := base64.StdEncoding.EncodeToString(bundle)
	for _, place := range []struct {
		wanted bool
		kind   schema.GroupVersionKind
		name   string
		put    func(object map[string]any) (changed bool)
	}{
		{s.Trust.Metrics, apiServiceKind, metricsAPI, func(object map[string]any) bool {
			spec, _, _ := unstructured.NestedMap(object, "spec")
			skips, _, _ := unstructured.NestedBool(spec, "insecureSkipTLSVerify")
			if skips || !s.put(spec, s.Trust.MetricsService, text) {
				return false
			}
			object["spec"] = spec
			return true
		}},
		{s.Trust.Webhook, webhookKind, s.Trust.WebhookName, func(object map[string]any) (changed bool) {
			webhooks, _, _ := unstructured.NestedSlice(object, "webhooks")
			for _, entry := range webhooks {
				webhook, _ := entry.(map[string]any)
				config, _ := webhook["clientConfig"].(map[string]any)
				changed = s.put(config, s.Trust.WebhookService, text) || changed
			}
			object["webhooks"] = webhooks
			return changed
		}},
	} {
		if !place.wanted {
			continue
		}
		failed = s.say(place.kind.Kind+" "+place.name, s.tellOne(ctx, place.kind, place.name, place.put)) || failed
	}
	return failed
}

func (s *Signer) tellOne(ctx context.Context, kind schema.GroupVersionKind, name string, put func(map[string]any) bool) error {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	err := s.Client.Get(ctx, client.ObjectKey{Name: name}, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil || !put(object.Object) {
		return err
	}
	if err := s.Client.Update(ctx, object); err != nil {
		return err
	}
	s.Log.Info("caBundle written", "kind", kind.Kind, "name", name)
	return nil
}

// put sets the bundle beside a reference to our Service, and to no other.
func (s *Signer) put(config map[string]any, service, bundle string) (changed bool) {
	namespace, _, _ := unstructured.NestedString(config, "service", "namespace")
	name, _, _ := unstructured.NestedString(config, "service", "name")
	if namespace != s.Installation || name != service || config["caBundle"] == bundle {
		return false
	}
	config["caBundle"] = bundle
	return true
}
