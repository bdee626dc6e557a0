package manager

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// What passes of events: so many of a namespace, of all, and of a namespace where
// that of all is used up. The library keeps each for up to twelve minutes, at a KiB
// and its note, and posts it.
var (
	eventsOfOne = pace{rate: 5, burst: 1000}
	eventsInAll = pace{rate: 20, burst: 5000}
	eventsAtAny = pace{rate: 0.1, burst: 20}
)

// pace is how many may pass in a second, and at once.
type pace struct {
	rate  rate.Limit
	burst int
}

func (p pace) limiter() *rate.Limiter { return rate.NewLimiter(p.rate, p.burst) }

// share is what a namespace has left.
type share struct{ own, sure *rate.Limiter }

// recorder records events as far as their namespace and all have any left. The
// rest is counted.
type recorder struct {
	events.EventRecorder
	now     func() time.Time
	leftOut prometheus.Counter

	mu    sync.Mutex
	of    map[string]*share // who has all has no entry
	inAll *rate.Limiter
	swept time.Time
}

func newRecorder(to events.EventRecorder, now func() time.Time) *recorder {
	return &recorder{
		EventRecorder: to, now: now,
		of: map[string]*share{}, inAll: eventsInAll.limiter(), swept: now(),
		leftOut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_events_left_out_total", Help: "Events that were not recorded because their namespace, or all, had too many.",
		}),
	}
}

// Eventf implements events.EventRecorder.
func (r *recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	namespace := ""
	if o, err := meta.Accessor(regarding); err == nil {
		namespace = o.GetNamespace()
	}
	if !r.passes(namespace) {
		r.leftOut.Inc()
		return
	}
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, note, args...)
}

func (r *recorder) passes(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.sweep(now)
	of := r.of[namespace]
	if of == nil {
		of = &share{eventsOfOne.limiter(), eventsAtAny.limiter()}
		r.of[namespace] = of
	}
	return of.own.TokensAt(now) >= 1 && (r.inAll.AllowN(now, 1) || of.sure.AllowN(now, 1)) && of.own.AllowN(now, 1)
}

// sweep forgets namespaces that have all of theirs; r.mu is held.
func (r *recorder) sweep(now time.Time) {
	if now.Sub(r.swept) < time.Minute {
		return
	}
	r.swept = now
	for namespace, of := range r.of {
		if of.own.TokensAt(now) >= float64(eventsOfOne.burst) && of.sure.TokensAt(now) >= float64(eventsAtAny.burst) {
			delete(r.of, namespace)
		}
	}
}
