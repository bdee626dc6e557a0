package admission

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// Counts are the metrics of the webhook, under names that users of KEDA know.
// A namespace has series as long as it is known: a text that is no namespace
// never has any.
type Counts struct {
	known                 func(namespace string) bool
	validations, refusals *prometheus.CounterVec

	mu         sync.Mutex
	namespaces map[string]struct{}
}

// NewCounts returns counters to be registered. What the caches have tells which
// namespaces there are.
func NewCounts(objects client.Reader) *Counts {
	return &Counts{
		known:      func(namespace string) bool { return inhabited(objects, namespace) },
		namespaces: map[string]struct{}{},
		validations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_webhook_scaled_object_validations_total", Help: "ScaledObjects that were judged.",
		}, []string{"namespace", "action"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_webhook_scaled_object_validation_errors_total", Help: "ScaledObjects that were refused, by reason.",
		}, []string{"namespace", "action", "reason"}),
	}
}

// Describe implements prometheus.Collector.
func (c *Counts) Describe(ch chan<- *prometheus.Desc) {
	c.validations.Describe(ch)
	c.refusals.Describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Counts) Collect(ch chan<- prometheus.Metric) {
	c.forget()
	c.validations.Collect(ch)
	c.refusals.Collect(ch)
}

// label is how a namespace is counted: under its name when it is known, else
// under none.
func (c *Counts) label(namespace string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.namespaces[namespace]; ok {
		return namespace
	}
	if !c.known(namespace) {
		return ""
	}
	c.namespaces[namespace] = struct{}{}
	return namespace
}

// forget ends the series of namespaces that are gone.
func (c *Counts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for namespace := range c.namespaces {
		if !c.known(namespace) {
			delete(c.namespaces, namespace)
			gone := prometheus.Labels{"namespace": namespace}
			c.validations.DeletePartialMatch(gone)
			c.refusals.DeletePartialMatch(gone)
		}
	}
}

// inhabited reports whether the caches have anything of a namespace that one
// with ScaledObjects has: those, or what they scale.
func inhabited(objects client.Reader, namespace string) bool {
	for _, list := range []client.ObjectList{
		&v1alpha1.ScaledObjectList{}, &v1alpha1.ScaledJobList{}, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{},
	} {
		err := objects.List(context.Background(), list, client.InNamespace(namespace), client.Limit(1), client.UnsafeDisableDeepCopy)
		if err == nil && meta.LenList(list) > 0 {
			return true
		}
	}
	return false
}

// judged counts one object and its refusals.
func (c *Counts) judged(namespace, action string, refusals []rules.Refusal) {
	c.validations.WithLabelValues(c.label(namespace), action).Inc()
	c.refused(namespace, action, refusals)
}

// refused counts each reason for refusing an object once.
func (c *Counts) refused(namespace, action string, refusals []rules.Refusal) {
	namespace = c.label(namespace)
	counted := map[string]bool{}
	for _, r := range refusals {
		if !counted[r.Reason] {
			counted[r.Reason] = true
			c.refusals.WithLabelValues(namespace, action, r.Reason).Inc()
		}
	}
}
