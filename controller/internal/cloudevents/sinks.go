package cloudevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/outbound"
)

// As in KEDA: a sink keeps so many events, and gets each so many times before
// it is given up.
const (
	queued      = 1024
	attempts    = 5
	sendTimeout = 10 * time.Second
)

// What tenants may make every controller hold: sinks of one namespace, or of
// the cluster, and events that wait in all sinks together, with the bytes of
// what each says.
const (
	mostSinks  = 8
	mostWait   = 32 << 10
	mostOfNote = 1 << 10
)

// errTooMany is about a source that gets its sink when another one is gone.
var errTooMany = fmt.Errorf("there are %d sources already, of which a namespace (and so the cluster) may have no more", mostSinks)

// Sinks are where events are sent to. Each has a goroutine of its own, so that
// a slow one holds up nobody else; they end with Start's context.
type Sinks struct {
	// Cluster is the first part of source and subject where a sink does not
	// name it, Namespace that of the installation's cluster-wide objects.
	Cluster, Namespace string
	// GaveUp is told of a sink that took no event; it gets none from then on.
	GaveUp func(types.NamespacedName)
	Log    *slog.Logger
	// Pause is waited between two attempts.
	Pause time.Duration

	sender  *outbound.Sender
	metrics *figures
	running sync.WaitGroup

	ctx context.Context //nolint:containedctx // it ends the sinks' goroutines
	end context.CancelFunc

	mu    sync.Mutex
	sinks map[types.NamespacedName]*sink
	// waiting counts the events in all queues; most is how many may be.
	waiting atomic.Int64
	most    int64

	counts sync.Mutex
	kept   map[string]kept // by namespace; without an entry it has no series
}

// kept is what a namespace has here.
type kept struct{ sources, events int }

// sink is one destination.
type sink struct {
	key     types.NamespacedName // namespace "" takes those of all
	edition edition
	spec    eventing.CloudEventSourceSpec
	queue   chan *event // which all sinks that wait for it share
	stop    context.CancelFunc
	failed  error // guarded by Sinks
}

// edition tells one spec of a source from the next, also when it was deleted and
// made anew.
type edition struct {
	uid        types.UID
	generation int64
}

// NewSinks returns no sink yet. What is put there is served until Start ends.
func NewSinks(cluster, namespace string, log *slog.Logger) *Sinks {
	ctx, end := context.WithCancel(context.Background())
	return &Sinks{
		ctx: ctx, end: end,
		Cluster: cluster, Namespace: namespace, Log: log, Pause: time.Second,
		GaveUp: func(types.NamespacedName) {},
		sender: outbound.NewSender(), most: mostWait,
		metrics: newFigures(), sinks: map[types.NamespacedName]*sink{}, kept: map[string]kept{},
	}
}

// Metrics are KEDA's about CloudEvents.
func (s *Sinks) Metrics() prometheus.Collector { return s.metrics }

// Start keeps the sinks until ctx is done.
func (s *Sinks) Start(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.running.Wait()
	s.sender.Close()
	return nil
}

// NeedLeaderElection tells controller-runtime that standbys know the sinks, too.
func (s *Sinks) NeedLeaderElection() bool { return false }

// put makes a sink of what a user asks for, and keeps the one there is while
// nothing changed. The error is why events are not sent.
func (s *Sinks) put(key types.NamespacedName, now edition, spec eventing.CloudEventSourceSpec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.sinks[key]; before != nil {
		if before.edition == now {
			return before.failed
		}
		s.drop(key)
	}
	if s.ctx.Err() != nil {
		return nil // this process ends
	}
	if s.of(key.Namespace) >= mostSinks {
		return errTooMany
	}
	next := &sink{key: key, edition: now, spec: spec, stop: func() {}}
	s.sinks[key] = next
	s.count(key.Namespace, kept{sources: 1})
	if next.failed = check(spec.Destination); next.failed != nil {
		return next.failed
	}
	next.queue = make(chan *event, queued)
	ctx, stop := context.WithCancel(s.ctx)
	next.stop = stop
	guard.Go(&s.running, "CloudEvents", key.String(), func() {
		guard.Loop(ctx, "CloudEvents", key.String(), func() { s.serve(ctx, next) })
	})
	return nil
}

// of counts the sinks of a namespace; s.mu is held.
func (s *Sinks) of(namespace string) (n int) {
	for key := range s.sinks {
		if key.Namespace == namespace {
			n++
		}
	}
	return n
}

// check says why nothing can be sent to a destination.
func check(to eventing.Destination) error {
	switch {
	case to.HTTP != nil:
		uri, err := url.Parse(to.HTTP.URI)
		if err != nil || uri.Scheme != "http" && uri.Scheme != "https" || uri.Hostname() == "" {
			return errors.New("destination.http.uri: is not the URL of an HTTP server") // it may hold a password
		}
		return nil
	case to.AzureEventGridTopic != nil:
		return errors.New("destination.azureEventGridTopic: needs credentials, which the controller never has; send to an HTTP sink that forwards")
	}
	return errors.New("destination: http is required")
}

// drop ends a sink; s.mu is held.
func (s *Sinks) drop(key types.NamespacedName) {
	if sink := s.sinks[key]; sink != nil {
		sink.stop()
		delete(s.sinks, key)
		s.empty(sink)
		s.count(key.Namespace, kept{sources: -1})
	}
}

// empty forgets what waits for a sink that gets nothing more; s.mu is held.
func (s *Sinks) empty(sink *sink) {
	for {
		select {
		case e := <-sink.queue:
			s.taken(e)
		default:
			return
		}
	}
}

// taken counts an event that waits no longer.
func (s *Sinks) taken(e *event) {
	s.waiting.Add(-1)
	s.count(e.namespace, kept{events: -1})
}

// count keeps the series of a namespace as long as it has a source of its own,
// or events that wait for one of the cluster.
func (s *Sinks) count(namespace string, more kept) {
	if namespace == "" {
		return
	}
	s.counts.Lock()
	defer s.counts.Unlock()
	now := s.kept[namespace]
	now.sources += more.sources
	now.events += more.events
	if now == (kept{}) {
		delete(s.kept, namespace)
		s.metrics.queued.DeleteLabelValues(namespace)
		return
	}
	s.kept[namespace] = now
	s.metrics.queued.WithLabelValues(namespace).Set(float64(now.events))
}

// remove ends a sink whose source is gone, and its series.
func (s *Sinks) remove(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(key)
	of := prometheus.Labels{"cloudeventsource": key.Name}
	if key.Namespace != "" {
		of["namespace"] = key.Namespace
	}
	s.metrics.emitted.DeletePartialMatch(of)
}

// send hands an event to each sink that wants it. It never blocks: what a full
// queue cannot take is dropped and logged.
func (s *Sinks) send(e event) {
	e.note = short(e.note)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sink := range s.sinks {
		elsewhere := sink.key.Namespace != "" && sink.key.Namespace != e.namespace
		if sink.failed != nil || elsewhere || !passes(sink.spec.EventSubscription, e.kind) {
			continue
		}
		if !s.enqueue(sink, &e) {
			s.Log.Error("CloudEvent dropped, its sink is too slow", "sink", sink.key.String(), "type", string(e.kind))
		}
	}
}

// enqueue counts first: serve may take the event at once.
func (s *Sinks) enqueue(sink *sink, e *event) bool {
	if s.waiting.Load() >= s.most {
		return false
	}
	s.waiting.Add(1)
	s.count(e.namespace, kept{events: 1})
	select {
	case sink.queue <- e:
		return true
	default:
		s.taken(e)
		return false
	}
}

// short cuts what an event says, between two characters.
func short(note string) string {
	if len(note) <= mostOfNote {
		return note
	}
	return strings.ToValidUTF8(note[:mostOfNote], "")
}

// serve sends what is queued, in order.
func (s *Sinks) serve(ctx context.Context, sink *sink) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-sink.queue:
			s.taken(e)
			if err := s.deliver(ctx, sink, e); err != nil {
				s.giveUp(ctx, sink, err)
				return
			}
		}
	}
}

func (s *Sinks) giveUp(ctx context.Context, sink *sink, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	sink.failed = err
	s.empty(sink)
	s.mu.Unlock()
	s.Log.Error("CloudEvent sink given up until its spec changes", "sink", sink.key.String(), "error", err)
	s.GaveUp(sink.key)
}

// deliver tries until the sink took the event.
func (s *Sinks) deliver(ctx context.Context, sink *sink, e *event) error {
	message, err := s.message(sink, e)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := s.post(ctx, sink, message)
		if err == nil {
			s.metrics.emitted.WithLabelValues(e.namespace, sink.key.Name, "http", "emitted").Inc()
			return nil
		}
		if ctx.Err() != nil {
			return err // the source is gone, and its series are
		}
		if attempt > attempts {
			s.metrics.emitted.WithLabelValues(e.namespace, sink.key.Name, "http", "failed").Inc()
			return fmt.Errorf("not delivered in %d attempts: %w", attempt, err)
		}
		timer := time.NewTimer(s.Pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// post sends a message once.
func (s *Sinks) post(ctx context.Context, sink *sink, message sdk.Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	request, err := cehttp.NewHTTPRequestFromEvent(ctx, sink.spec.Destination.HTTP.URI, message)
	if err != nil {
		return err
	}
	status, err := s.sender.Send(request)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("the answer is status %d", status)
	}
	return err
}

// data is what an event says.
type data struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (s *Sinks) message(sink *sink, e *event) (sdk.Event, error) {
	cluster := sink.spec.ClusterName
	if cluster == "" {
		cluster = s.Cluster
	}
	message := sdk.NewEvent()
	message.SetID(uuid.NewString())
	message.SetTime(time.Now())
	message.SetType(string(e.kind))
	message.SetSource("/" + cluster + "/" + s.Namespace + "/keda")
	message.SetSubject("/" + cluster + "/" + e.namespace + "/" + e.object + "/" + e.name)
	return message, message.SetData(sdk.ApplicationJSON, data{e.reason, e.note})
}

// figures are KEDA's about CloudEvents.
type figures struct {
	emitted *prometheus.CounterVec
	queued  *prometheus.GaugeVec
}

func newFigures() *figures {
	return &figures{
		emitted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keda_cloudeventsource_events_emitted_total", Help: "CloudEvents by what became of them: emitted or failed.",
		}, []string{"namespace", "cloudeventsource", "eventsink", "state"}),
		queued: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keda_cloudeventsource_events_queued", Help: "CloudEvents that wait for their sinks.",
		}, []string{"namespace"}),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(ch chan<- *prometheus.Desc) {
	f.emitted.Describe(ch)
	f.queued.Describe(ch)
}

// Collect implements prometheus.Collector.
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	f.emitted.Collect(ch)
	f.queued.Collect(ch)
}
