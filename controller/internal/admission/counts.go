package admission

import "github.com/prometheus/client_golang/prometheus"

// Counts are the metrics of the webhook, under names that users of KEDA know.
type Counts struct {
	validations, refusals *prometheus.CounterVec
}

// NewCounts returns counters to be registered.
func NewCounts() *Counts {
	return &Counts{
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
	c.validations.Collect(ch)
	c.refusals.Collect(ch)
}

// judged counts one object and its refusals.
func (c *Counts) judged(namespace, action string, refusals []refusal) {
	c.validations.WithLabelValues(namespace, action).Inc()
	c.refused(namespace, action, refusals)
}

// refused counts each reason for refusing an object once.
func (c *Counts) refused(namespace, action string, refusals []refusal) {
	counted := map[string]bool{}
	for _, r := range refusals {
		if !counted[r.reason] {
			counted[r.reason] = true
			c.refusals.WithLabelValues(namespace, action, r.reason).Inc()
		}
	}
}
