// Package registration notices when the API server no longer asks us: the
// APIService of external metrics or the webhook's configuration is gone, or leads
// to somebody else. HPAs fail then without a word of ours, and what is applied is
// not judged. Where it is asked to, it puts them back.
package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
)

const (
	// lookPeriod is how often both are looked at.
	lookPeriod = 5 * time.Second
	// readTime is how long that may take.
	readTime = 5 * time.Second
	// restorePeriod is how often one is put back at most: whoever else claims it
	// is not fought over it.
	restorePeriod = time.Minute
	// mostNamed are how many webhooks a message names.
	mostNamed = 5
)

// The names that the API server has for what asks us. There is one of each in a
// cluster.
const metricsAPI = "v1beta1.external.metrics.k8s.io"

// Registration follows both.
type Registration struct {
	// Client reads and writes them by name, without a cache.
	Client client.Client
	// Namespace is the installation's, MetricsService and WebhookService are its
	// Services. Webhook is the name of the configuration, "" where no webhook is
	// served.
	Namespace, MetricsService string
	Webhook, WebhookService   string
	// Restore puts back what is gone or leads elsewhere.
	Restore bool
	// Acts reports whether this process tells and mends; every one looks. It is
	// false in the shadow of somebody whom all this belongs to.
	Acts func() bool
	// Shadow reports whether it is somebody else's anyway.
	Shadow func() bool
	// Tell emits an event about an object.
	Tell func(about runtime.Object, kind, reason, action, note string)
	// Changed is called when what is to be said of the metrics did.
	Changed func(context.Context)
	Now     func() time.Time
	Log     *slog.Logger

	mu     sync.Mutex
	places map[string]*place // by what
}

// place is one of both, as it was seen last.
type place struct {
	known bool
	// wrong is why it does not lead to us, "" when it does. It has to be seen
	// twice: seen is what the last look found.
	wrong, seen string
	// told is what was last told of it, by this process.
	told string
	// good is how it was when it led to us, nil for never.
	good     *unstructured.Unstructured
	restored time.Time
}

// What there is.
const (
	metrics = "metrics"
	webhook = "webhook"
)

var kinds = map[string]schema.GroupVersionKind{
	metrics: {Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"},
	webhook: {Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
}

// NeedLeaderElection tells controller-runtime that standbys look, too.
func (r *Registration) NeedLeaderElection() bool { return false }

// Start looks until ctx is done.
func (r *Registration) Start(ctx context.Context) error {
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	for {
		_ = guard.Do("a look at who is asked", "", func() { r.look(ctx) }) // logged
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Metrics is why HPAs are told nothing, nil when they are or nothing is known.
func (r *Registration) Metrics() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.places[metrics]; p != nil && p.known && p.wrong != "" {
		return errors.New(p.wrong)
	}
	return nil
}

func (r *Registration) look(ctx context.Context) {
	if r.Shadow() {
		r.mu.Lock()
		r.places = nil
		r.mu.Unlock()
		return
	}
	before := fmt.Sprint(r.Metrics())
	r.lookAt(ctx, metrics, metricsAPI, r.judgeMetrics)
	if r.Webhook != "" {
		r.lookAt(ctx, webhook, r.Webhook, r.judgeWebhook)
	}
	if fmt.Sprint(r.Metrics()) != before {
		r.Changed(ctx)
	}
}

// lookAt looks at one. What may not be read, or cannot be now, is as it was. One
// that is being replaced is gone for a moment.
func (r *Registration) lookAt(ctx context.Context, what, name string, judge func(*unstructured.Unstructured) string) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	object := named(what, name)
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
	gone := apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
	if err != nil && !gone {
		return
	}
	wrong := judge(nil)
	if !gone {
		wrong = judge(object)
	}
	r.mu.Lock()
	p := r.places[what]
	if p == nil {
		p = &place{}
		if r.places == nil {
			r.places = map[string]*place{}
		}
		r.places[what] = p
	}
	if wrong == "" || wrong == p.seen {
		p.known, p.wrong = true, wrong
	}
	p.seen = wrong
	if wrong == "" {
		p.good = object
	}
	wrong = p.wrong
	r.mu.Unlock()
	if !r.Acts() {
		return
	}
	r.tell(p, named(what, name), what)
	if wrong != "" && r.Restore && r.Now().Sub(p.restored) >= restorePeriod {
		p.restored = r.Now()
		r.restore(ctx, what, p.good, object, gone)
	}
}

func named(what, name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kinds[what])
	object.SetName(name)
	return object
}

// tell tells of a change, once.
func (r *Registration) tell(p *place, about *unstructured.Unstructured, what string) {
	if p.told == p.wrong {
		return
	}
	p.told = p.wrong
	if p.wrong == "" {
		r.Log.Info("the API server asks this installation again", "kind", about.GetKind(), "name", about.GetName())
		r.Tell(about, corev1.EventTypeNormal, "SluiceAsked", "CheckRegistration", about.GetKind()+" "+about.GetName()+" leads to Sluice")
		return
	}
	r.Log.Error("the API server does not ask this installation", "what", what, "error", p.wrong)
	r.Tell(about, corev1.EventTypeWarning, "SluiceNotAsked", "CheckRegistration", p.wrong)
}

// judgeMetrics is why the APIService, nil for none, does not lead to us.
func (r *Registration) judgeMetrics(object *unstructured.Unstructured) string {
	const follows = "the HPA controller asks nobody of Sluice for metrics"
	if object == nil {
		return "APIService " + metricsAPI + " is gone: " + follows
	}
	service, _, _ := unstructured.NestedMap(object.Object, "spec", "service")
	if leads(service, r.Namespace, r.MetricsService) {
		return ""
	}
	return fmt.Sprintf("APIService %s leads to %s, not to %s/%s: %s", metricsAPI, whose(service), r.Namespace, r.MetricsService, follows)
}

// judgeWebhook is why the configuration, nil for none, does not lead to us, or not
// with all that it has.
func (r *Registration) judgeWebhook(object *unstructured.Unstructured) string {
	const follows = "what is applied is not judged until a controller reads it"
	if object == nil {
		return "ValidatingWebhookConfiguration " + r.Webhook + " is gone: " + follows
	}
	all, _, _ := unstructured.NestedSlice(object.Object, "webhooks")
	var elsewhere []string
	ours := 0
	for _, entry := range all {
		one, _ := entry.(map[string]any)
		service, _, _ := unstructured.NestedMap(one, "clientConfig", "service")
		name, _, _ := unstructured.NestedString(one, "name")
		if leads(service, r.Namespace, r.WebhookService) {
			ours++
		} else {
			elsewhere = append(elsewhere, name+" to "+whose(service))
		}
	}
	switch {
	case len(elsewhere) > 0:
		return fmt.Sprintf("ValidatingWebhookConfiguration %s: of %d webhooks %d lead to Sluice; elsewhere: %s",
			r.Webhook, len(all), ours, strings.Join(elsewhere[:min(len(elsewhere), mostNamed)], ", "))
	case ours == 0:
		return "ValidatingWebhookConfiguration " + r.Webhook + " has no webhooks: " + follows
	}
	return ""
}

func leads(service map[string]any, namespace, name string) bool {
	return service["namespace"] == namespace && service["name"] == name
}

func whose(service map[string]any) string {
	if service == nil {
		return "no Service"
	}
	return fmt.Sprintf("Service %v/%v", service["namespace"], service["name"])
}

// restore puts back how one was when it led to us. The metrics' own is known
// beforehand, but for whom to trust, which who signs adds.
func (r *Registration) restore(ctx context.Context, what string, good, live *unstructured.Unstructured, gone bool) {
	if good == nil && what == metrics {
		good = r.apiService()
	}
	if good == nil {
		r.Log.Warn("not put back: how it was is not known since this controller began", "kind", live.GetKind(), "name", live.GetName())
		return
	}
	object := good.DeepCopy()
	for _, field := range []string{"uid", "creationTimestamp", "generation", "managedFields", "resourceVersion", "ownerReferences"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(object.Object, "status")
	var err error
	if gone {
		err = r.Client.Create(ctx, object)
	} else {
		object.SetResourceVersion(live.GetResourceVersion())
		err = r.Client.Update(ctx, object)
	}
	if err != nil {
		r.Log.Error("not put back", "kind", object.GetKind(), "name", object.GetName(), "error", err)
		return
	}
	r.Log.Info("put back", "kind", object.GetKind(), "name", object.GetName())
}

func (r *Registration) apiService() *unstructured.Unstructured {
	object := named(metrics, metricsAPI)
	object.SetLabels(map[string]string{"app.kubernetes.io/name": "metrics-adapter", "app.kubernetes.io/part-of": "sluice"})
	object.Object["spec"] = map[string]any{
		"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
		"service": map[string]any{"namespace": r.Namespace, "name": r.MetricsService, "port": int64(443)},
	}
	return object
}

var registered = prometheus.NewDesc("sluice_registered",
	"1 while the API server asks this installation for metrics, or to judge what is applied; 0 when that is gone or leads elsewhere.", []string{"what"}, nil)

// Describe implements prometheus.Collector.
func (r *Registration) Describe(ch chan<- *prometheus.Desc) { ch <- registered }

// Collect implements prometheus.Collector. What is not known is not told.
func (r *Registration) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, p := range r.places {
		if !p.known {
			continue
		}
		value := 0.0
		if p.wrong == "" {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(registered, prometheus.GaugeValue, value, what)
	}
}
