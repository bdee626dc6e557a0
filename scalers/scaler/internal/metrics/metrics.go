// Package metrics is what a family tells Prometheus.
package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"google.golang.org/grpc/codes"
)

// Metrics is what a family tells Prometheus. Labels are trigger types, gRPC
// codes and outcomes: their number does not grow with the objects.
type Metrics struct {
	Registry *prometheus.Registry

	reads        *prometheus.CounterVec
	readDuration *prometheus.HistogramVec
	answerAge    *prometheus.HistogramVec
	errors       *prometheus.CounterVec
	rings        *prometheus.CounterVec
	asked        *prometheus.GaugeVec
	subscribed   *prometheus.GaugeVec
	shared       prometheus.Gauge

	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
}

// New makes the metrics of a family.
func New(family string) *Metrics {
	labels := prometheus.Labels{"family": family}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_scaler_reads_total", ConstLabels: labels,
			Help: "Reads of event sources, by trigger type, outcome (value, no_data, error) and what caused them.",
		}, []string{"type", "outcome", "cause"}),
		readDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_scaler_read_duration_seconds", ConstLabels: labels,
			Help:    "How long reads of event sources took.",
			Buckets: []float64{.001, .005, .025, .1, .25, 1, 3, 10},
		}, []string{"type"}),
		answerAge: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_scaler_answer_age_seconds", ConstLabels: labels,
			Help:    "How long ago the source was read when a metric was asked for, mostly by the HPA controller.",
			Buckets: []float64{.25, .5, 1, 1.5, 3, 5, 10, 15, 30},
		}, []string{"type"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_scaler_read_errors_total", ConstLabels: labels,
			Help: "Failed reads of event sources, by trigger type and gRPC code.",
		}, []string{"type", "code"}),
		rings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_scaler_doorbell_rings_total", ConstLabels: labels,
			Help: "Rings of doorbells, before they are limited.",
		}, []string{"type"}),
		asked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_scaler_questions", ConstLabels: labels,
			Help: "Distinct questions that are sampled.",
		}, []string{"type"}),
		subscribed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_scaler_subscriptions", ConstLabels: labels,
			Help: "Triggers that clients subscribed to or asked for lately.",
		}, []string{"type"}),
		shared: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_scaler_shared_connections", ConstLabels: labels,
			Help: "Connections to event sources that triggers share.",
		}),
		// Reads are shared by all who ask the same question, so no object can be
		// named.
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_scaler_http_requests_total",
			Help: "HTTP requests made while a metric was read, by trigger type.",
		}, []string{"scaler", "status_code"}),
		requestDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "keda_scaler_http_request_duration_seconds",
			Help:    "How long HTTP requests took that were made while a metric was read.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"scaler", "status_code"}),
	}
	m.Registry.MustRegister(m.reads, m.readDuration, m.answerAge, m.errors, m.rings, m.asked, m.subscribed, m.shared,
		m.requests, m.requestDuration)
	return m
}

// lifeLeft is what the core calls it, too.
var lifeLeft = prometheus.NewDesc("sluice_certificate_life_left_ratio",
	"Which part of the life of this process's certificate is left: 1 when it begins, 0 from its end on.", nil, nil)

// Certificate tells of the family's certificate: left is which part of its life
// is left, and whether there is one.
type Certificate func(now time.Time) (left float64, known bool)

// Describe implements prometheus.Collector.
func (Certificate) Describe(ch chan<- *prometheus.Desc) { ch <- lifeLeft }

// Collect implements prometheus.Collector. What is not known is not told.
func (c Certificate) Collect(ch chan<- prometheus.Metric) {
	if left, known := c(time.Now()); known {
		ch <- prometheus.MustNewConstMetric(lifeLeft, prometheus.GaugeValue, left)
	}
}

// Announce makes the series of a trigger type exist before anything happens.
func (m *Metrics) Announce(triggerType string) {
	m.readDuration.WithLabelValues(triggerType)
	m.answerAge.WithLabelValues(triggerType)
	m.rings.WithLabelValues(triggerType)
	m.asked.WithLabelValues(triggerType)
	m.subscribed.WithLabelValues(triggerType)
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded} {
		m.errors.WithLabelValues(triggerType, code.String())
	}
}

// Questions counts questions that are sampled from now on, or no more.
func (m *Metrics) Questions(triggerType string, n int) {
	m.asked.WithLabelValues(triggerType).Add(float64(n))
}

// Subscriptions counts triggers that clients subscribed to, or left.
func (m *Metrics) Subscriptions(triggerType string, n int) {
	m.subscribed.WithLabelValues(triggerType).Add(float64(n))
}

// Ring counts a ring of a doorbell.
func (m *Metrics) Ring(triggerType string) { m.rings.WithLabelValues(triggerType).Inc() }

// Connections notes how many connections sources share.
func (m *Metrics) Connections(n int) { m.shared.Set(float64(n)) }

// Answered notes how old a metric was that was asked for.
func (m *Metrics) Answered(triggerType string, age time.Duration) {
	m.answerAge.WithLabelValues(triggerType).Observe(age.Seconds())
}

// Read counts one completed read.
func (m *Metrics) Read(triggerType string, outcome scalerv1.Outcome, cause scalerv1.Detection, took time.Duration, err error) {
	m.reads.WithLabelValues(triggerType, OutcomeLabel(outcome), CauseLabel(cause)).Inc()
	m.readDuration.WithLabelValues(triggerType).Observe(took.Round(time.Microsecond).Seconds())
	if err != nil {
		code, _ := failure.Explain(err)
		m.errors.WithLabelValues(triggerType, code.String()).Inc()
	}
}

// OutcomeLabel is the word of metrics and traces for an outcome.
func OutcomeLabel(outcome scalerv1.Outcome) string { return outcomeLabels[outcome] }

// CauseLabel is theirs for what caused a read.
func CauseLabel(detection scalerv1.Detection) string { return causeLabels[detection] }

// requestsKey is where the context of a read says who counts its requests.
type requestsKey struct{}

// requests counts the HTTP requests of reads of one trigger type.
type requests struct {
	metrics     *Metrics
	triggerType string
}

// Counting returns the context of a read whose HTTP requests are counted.
func (m *Metrics) Counting(ctx context.Context, triggerType string) context.Context {
	return context.WithValue(ctx, requestsKey{}, requests{m, triggerType})
}

// CountRequest counts a request that is made while a metric is read, if ctx is
// that of the read.
func CountRequest(ctx context.Context, code string, took time.Duration) {
	if r, ok := ctx.Value(requestsKey{}).(requests); ok {
		r.metrics.requests.WithLabelValues(r.triggerType, code).Inc()
		r.metrics.requestDuration.WithLabelValues(r.triggerType, code).Observe(took.Seconds())
	}
}

var outcomeLabels = map[scalerv1.Outcome]string{
	scalerv1.Outcome_OUTCOME_VALUE:   "value",
	scalerv1.Outcome_OUTCOME_NO_DATA: "no_data",
	scalerv1.Outcome_OUTCOME_ERROR:   "error",
}

var causeLabels = map[scalerv1.Detection]string{
	scalerv1.Detection_DETECTION_POLLING:  "poll",
	scalerv1.Detection_DETECTION_DOORBELL: "ring",
	scalerv1.Detection_DETECTION_TIMER:    "timer",
}
