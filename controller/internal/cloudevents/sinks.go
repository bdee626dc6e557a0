package cloudevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
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
	// Inhabited reports whether a namespace has anything that events are about.
	Inhabited func(namespace string) bool
	Log       *slog.Logger
	// Pause is waited between two attempts.
	Pause time.Duration

	now     func() time.Time
	sender  *outbound.Sender
	metrics *figures
	running sync.WaitGroup

	ctx context.Context //nolint:containedctx // it ends the sinks' goroutines
	end context.CancelFunc

	mu    sync.Mutex
	sinks map[string]map[string]*sink // by namespace and name

	counts  sync.Mutex
	waiting *room           // of all queues, by the namespace of the sink
	kept    map[string]kept // by namespace; without an entry it has no series
}

// kept is what a namespace has here.
type kept struct{ sources, events int }

// sink is one destination.
type sink struct {
	key     types.NamespacedName // namespace "" takes those of all
	edition edition
	spec    eventing.CloudEventSourceSpec
	queue   chan *event // which all sinks that wait for it share
	waiting *room       // of the queue, by the namespace of the event; nil where there is one
	stop    context.CancelFunc
	// The rest is guarded by Sinks.
	failed  error
	dropped int // since the log told of it
	told    time.Time
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
	s := &Sinks{
		ctx: ctx, end: end,
		Cluster: cluster, Namespace: namespace, Log: log, Pause: time.Second,
		GaveUp: func(types.NamespacedName) {}, Inhabited: func(string) bool { return true },
		now: time.Now, sender: outbound.NewSender(), waiting: newRoom(mostWait),
		sinks: map[string]map[string]*sink{}, kept: map[string]kept{},
	}
	s.metrics = newFigures(s.sweep)
	return s
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
	if before := s.sinks[key.Namespace][key.Name]; before != nil {
		if before.edition == now {
			return before.failed
		}
		s.drop(key)
	}
	if s.ctx.Err() != nil {
		return nil // this process ends
	}
	if len(s.sinks[key.Namespace]) >= mostSinks {
		return errTooMany
	}
	next := &sink{key: key, edition: now, spec: spec, stop: func() {}}
	if s.sinks[key.Namespace] == nil {
		s.sinks[key.Namespace] = map[string]*sink{}
	}
	s.sinks[key.Namespace][key.Name] = next
	s.count(key.Namespace, kept{sources: 1})
	if next.failed = check(spec.Destination); next.failed != nil {
		return next.failed
	}
	next.open()
	ctx, stop := context.WithCancel(s.ctx)
	next.stop = stop
	guard.Go(&s.running, "CloudEvents", key.String(), func() {
		guard.Loop(ctx, "CloudEvents", key.String(), func() { s.serve(ctx, next) })
	})
	return nil
}

// open makes the queue. That of the cluster has room for the events of one
// namespace, and as much again for those of others.
func (s *sink) open() {
	if s.key.Namespace != "" {
		s.queue = make(chan *event, queued)
		return
	}
	s.queue, s.waiting = make(chan *event, 2*queued), newRoom(2*queued)
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
	sink := s.sinks[key.Namespace][key.Name]
	if sink == nil {
		return
	}
	sink.stop()
	if delete(s.sinks[key.Namespace], key.Name); len(s.sinks[key.Namespace]) == 0 {
		delete(s.sinks, key.Namespace)
	}
	s.empty(sink)
	s.count(key.Namespace, kept{sources: -1})
}

// empty forgets what waits for a sink that gets nothing more; s.mu is held.
func (s *Sinks) empty(sink *sink) {
	for {
		select {
		case e := <-sink.queue:
			s.taken(sink, e)
		default:
			return
		}
	}
}

// admit counts an event that is to wait, if there is room: where there is none,
// the namespace whose sinks have the most waiting gives way. s.mu is held.
func (s *Sinks) admit(sink *sink, e *event) bool {
	if !s.makeRoom(sink.key.Namespace) {
		return false
	}
	s.counts.Lock()
	defer s.counts.Unlock()
	if sink.waiting != nil && !sink.waiting.enter(e.namespace) {
		return false
	}
	s.waiting.put(sink.key.Namespace)
	s.keep(e.namespace, kept{events: 1})
	return true
}

// makeRoom reports whether one more may wait for sinks of a namespace; s.mu is
// held.
func (s *Sinks) makeRoom(namespace string) bool {
	s.counts.Lock()
	who, ok, full := "", true, s.waiting.all >= s.waiting.most
	if full {
		who, ok = s.waiting.inFavorOf(namespace)
	}
	s.counts.Unlock()
	if full && ok {
		return s.evict(who)
	}
	return ok
}

// evict drops the event that waits longest for that sink of a namespace for which
// the most wait; s.mu is held.
func (s *Sinks) evict(namespace string) bool {
	var slowest *sink
	for _, sink := range s.sinks[namespace] {
		if slowest == nil || len(sink.queue) > len(slowest.queue) {
			slowest = sink
		}
	}
	if slowest == nil {
		return false
	}
	select {
	case e := <-slowest.queue:
		s.taken(slowest, e)
		s.tooSlow(slowest, e)
	default: // it was served meanwhile
	}
	return true
}

// tellEvery is how often the log tells of a sink that is too slow, so that its
// events do not become lines for everybody.
const tellEvery = time.Minute

// tooSlow tells of an event that is dropped, and of those before it that were not
// told of; s.mu is held.
func (s *Sinks) tooSlow(sink *sink, e *event) {
	sink.dropped++
	if now := s.now(); now.Sub(sink.told) >= tellEvery {
		s.Log.Error("CloudEvents dropped, their sink is too slow", "sink", sink.key.String(), "events", sink.dropped, "type", string(e.kind))
		sink.dropped, sink.told = 0, now
	}
}

// taken counts an event that waits no longer.
func (s *Sinks) taken(sink *sink, e *event) {
	s.counts.Lock()
	defer s.counts.Unlock()
	s.waiting.leave(sink.key.Namespace)
	if sink.waiting != nil {
		sink.waiting.leave(e.namespace)
	}
	s.keep(e.namespace, kept{events: -1})
}

func (s *Sinks) count(namespace string, more kept) {
	s.counts.Lock()
	defer s.counts.Unlock()
	s.keep(namespace, more)
}

// keep keeps the series of a namespace as long as it has a source of its own, or
// events that wait for one of the cluster; s.counts is held.
func (s *Sinks) keep(namespace string, more kept) {
	if namespace == "" {
		return
	}
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
	s.metrics.emitted.Forget(key)
}

// send hands an event to each sink that wants it. It never blocks: what a full
// queue cannot take is dropped and logged.
func (s *Sinks) send(e event) {
	e.note = short(e.note)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer(s.sinks[""], &e)
	if e.namespace != "" {
		s.offer(s.sinks[e.namespace], &e)
	}
}

// offer is send for some sinks; s.mu is held.
func (s *Sinks) offer(sinks map[string]*sink, e *event) {
	for _, sink := range sinks {
		if sink.failed != nil || !passes(sink.spec.EventSubscription, e.kind) {
			continue
		}
		if !s.enqueue(sink, e) {
			s.tooSlow(sink, e)
		}
	}
}

// enqueue counts first: serve may take the event at once.
func (s *Sinks) enqueue(sink *sink, e *event) bool {
	if !s.admit(sink, e) {
		return false
	}
	select {
	case sink.queue <- e:
		return true
	default:
		s.taken(sink, e)
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
			s.taken(sink, e)
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
			s.emitted(sink, e, "emitted")
			return nil
		}
		if ctx.Err() != nil {
			return err // the source is gone, and its series are
		}
		if attempt > attempts {
			s.emitted(sink, e, "failed")
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

// emitted counts what became of an event, unless the source is gone, and its
// series are.
func (s *Sinks) emitted(sink *sink, e *event, state string) {
	s.mu.Lock()
	if s.sinks[sink.key.Namespace][sink.key.Name] != nil {
		s.metrics.emitted.Add(sink.key, e.namespace, 1, e.namespace, sink.key.Name, "http", state)
	}
	s.mu.Unlock()
	if s.metrics.emitted.Grown() {
		s.sweep()
	}
}

// sweep ends what sinks of the cluster counted of namespaces that are gone.
func (s *Sinks) sweep() {
	inhabited := map[string]bool{}
	s.metrics.emitted.Sweep(func(sink types.NamespacedName, namespace string) bool {
		if sink.Namespace != "" || namespace == "" {
			return false
		}
		lives, known := inhabited[namespace]
		if !known {
			lives = s.Inhabited(namespace)
			inhabited[namespace] = lives
		}
		return !lives
	})
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
	// emitted are by sink and the namespace of the event.
	emitted *series.Counters[types.NamespacedName, string]
	queued  *prometheus.GaugeVec
	// told is called after a scrape: of a namespace that is gone, it was the last.
	told func()
}

func newFigures(told func()) *figures {
	return &figures{
		told: told,
		emitted: series.New[types.NamespacedName, string](series.Unbounded,
			"keda_cloudeventsource_events_emitted_total", "CloudEvents by what became of them: emitted or failed.",
			"namespace", "cloudeventsource", "eventsink", "state"),
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
	f.told()
}
