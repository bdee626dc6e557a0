package admission

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// Counts are the metrics of the webhook, under names that users of KEDA know.
// A namespace has series as long as it is known: a text that is no namespace
// never has any.
type Counts struct {
	known                 func(namespace string) bool
	validations, refusals *perNamespace

	mu         sync.Mutex
	namespaces map[string]struct{}
}

// perNamespace are series that end with their namespace.
type perNamespace = series.Counters[string, whole]

// whole is the one part of a namespace.
type whole struct{}

// NewCounts returns counters to be registered. What the caches have tells which
// namespaces there are.
func NewCounts(objects client.Reader) *Counts {
	return &Counts{
		known:      func(namespace string) bool { return Inhabited(objects, namespace) },
		namespaces: map[string]struct{}{},
		validations: series.New[string, whole](series.Unbounded,
			"keda_webhook_scaled_object_validations_total", "ScaledObjects that were judged.", "namespace", "action"),
		refusals: series.New[string, whole](series.Unbounded,
			"keda_webhook_scaled_object_validation_errors_total", "ScaledObjects that were refused, by reason.", "namespace", "action", "reason"),
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
	if c.seen(namespace) {
		return namespace
	}
	if !c.known(namespace) { // which takes a while, and holds up nobody
		return ""
	}
	c.mu.Lock()
	c.namespaces[namespace] = struct{}{}
	c.mu.Unlock()
	if c.validations.Grown() || c.refusals.Grown() {
		c.forget()
	}
	return namespace
}

func (c *Counts) seen(namespace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, seen := c.namespaces[namespace]
	return seen
}

// forget ends the series of namespaces that are gone.
func (c *Counts) forget() {
	gone := func(namespace string, _ whole) bool {
		if namespace == "" || c.known(namespace) {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.namespaces, namespace)
		return true
	}
	c.validations.Sweep(gone)
	c.refusals.Sweep(gone)
}

// Inhabited reports whether the caches have anything of a namespace that one
// with ScaledObjects has: those, what they log in with, or what they scale.
func Inhabited(objects client.Reader, namespace string) bool {
	for _, list := range []client.ObjectList{
		&v1alpha1.ScaledObjectList{}, &v1alpha1.ScaledJobList{}, &v1alpha1.TriggerAuthenticationList{},
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{},
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
	label := c.label(namespace)
	c.validations.Add(label, whole{}, 1, label, action)
	c.refused(namespace, action, refusals)
}

// refused counts each reason for refusing an object once.
func (c *Counts) refused(namespace, action string, refusals []rules.Refusal) {
	label := c.label(namespace)
	counted := map[string]bool{}
	for _, r := range refusals {
		if !counted[r.Reason] {
			counted[r.Reason] = true
			c.refusals.Add(label, whole{}, 1, label, action, r.Reason)
		}
	}
}
