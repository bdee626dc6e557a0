package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/retry"
)

// SharedDoorbell lets all Ringers of one connection that listen at the same place
// share what listens there: one subscription for a thousand keys, channels or
// topics. It is what a Ringer's Listen calls.
type SharedDoorbell struct {
	start func(run func(context.Context)) // in a goroutine that Close ends and waits for
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	places  map[string]*Listeners
	retries map[string]*pause // of places where listening failed
}

// mostTopics is how many topics are listened for at one place, so that nobody
// has a server remember any number of them. Those of one namespace are half, so
// that it leaves room for others at a place that is everybody's.
const mostTopics, mostTopicsOfOne = 10_000, 5_000

// pause is when listening at a place is tried again. All who want to listen
// there wait for the same attempt: a thousand of them are one to the server.
type pause struct {
	retry.Backoff
	refusal error // the place does not let us listen; nil when it just failed
}

// NewSharedDoorbell returns one that nobody listens to. It has the values of ctx
// and goes on until Close.
func NewSharedDoorbell(ctx context.Context) *SharedDoorbell {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &SharedDoorbell{stop: stop, places: map[string]*Listeners{}, retries: map[string]*pause{}}
	d.start = func(run func(context.Context)) { d.done.Go(func() { run(ctx) }) }
	return d
}

// Close ends all listening.
func (d *SharedDoorbell) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	d.done.Wait()
}

// Listen calls ring when something happens to topic at place, until ctx ends,
// and listening once that is so. The first who listens at a place starts run,
// which listens for all others there, too; its error ends listening for all.
// After an error run is started again, ever later up to a minute; one wrapping
// ErrDoorbellRefused is the answer to everybody for some time.
//
// run returns when ctx ends, when something fails, or when Listeners.Topics says
// that nobody is left.
func (d *SharedDoorbell) Listen(ctx context.Context, place, topic string, run func(context.Context, *Listeners) error, listening, ring func()) error {
	l := &listener{topic: topic, namespace: budget.Namespaces(ctx)[0], listening: sync.OnceFunc(listening), ring: ring, failed: make(chan error, 1)}
	at, err := d.joinInTime(ctx, place, l, run)
	if err != nil {
		return err
	}
	defer at.leave(l)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-l.failed:
		return err
	}
}

// joinInTime adds a listener to those at a place, as soon as one may listen there.
func (d *SharedDoorbell) joinInTime(ctx context.Context, place string, l *listener, run func(context.Context, *Listeners) error) (*Listeners, error) {
	for {
		at, next, err := d.join(place, l, run)
		if at != nil || err != nil {
			return at, err
		}
		if err := retry.SleepUntil(ctx, next); err != nil {
			return nil, err
		}
	}
}

// join adds a listener to those at a place; the first one starts run. At a place
// where listening pauses it returns when the pause ends.
func (d *SharedDoorbell) join(place string, l *listener, run func(context.Context, *Listeners) error) (at *Listeners, next time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, next, errors.New("the connection is closed")
	}
	if at := d.places[place]; at != nil {
		switch added, err := at.add(l); {
		case err != nil:
			return nil, next, err
		case added:
			return at, next, nil
		}
	}
	if r := d.retries[place]; r != nil && time.Now().Before(r.Due()) {
		return nil, r.Due(), r.refusal
	}
	return d.begin(place, l, run), next, nil
}

// begin starts run for the first listener. d.mu is held.
func (d *SharedDoorbell) begin(place string, l *listener, run func(context.Context, *Listeners) error) *Listeners {
	at := &Listeners{changed: make(chan struct{}, 1), all: map[string]map[*listener]struct{}{l.topic: {l: {}}}, of: map[string]int{l.namespace: 1}}
	d.places[place] = at
	d.start(func(ctx context.Context) {
		err := runSafely(ctx, at, run)
		d.mu.Lock()
		if d.places[place] == at {
			delete(d.places, place)
		}
		d.ended(place, at, err)
		d.mu.Unlock()
		at.end(err)
	})
	return at
}

// ended plans when a place is listened at again. d.mu is held.
func (d *SharedDoorbell) ended(place string, at *Listeners, err error) {
	if err == nil {
		return // nobody is left
	}
	maps.DeleteFunc(d.retries, func(_ string, r *pause) bool { return time.Since(r.Due()) > contract.AskAgain })
	r := d.retries[place]
	if r == nil {
		r = &pause{}
		d.retries[place] = r
	}
	r.refusal = nil
	r.Ended(at.listeningSince())
	if errors.Is(err, contract.ErrDoorbellRefused) {
		r.Rest(contract.AskAgain)
		r.refusal = err
	}
}

func runSafely(ctx context.Context, at *Listeners, run func(context.Context, *Listeners) error) (err error) {
	defer defect.Recovered("listen", &err)
	return run(ctx, at)
}

// Listeners are all who listen at one place.
type Listeners struct {
	changed chan struct{} // room for one

	mu    sync.Mutex
	all   map[string]map[*listener]struct{} // by topic
	of    map[string]int                    // who listens, by namespace
	over  bool                              // nobody listens for them any more: others start anew
	since time.Time                         // the first of them is listened for
}

// listener is one question while its source is listened to.
type listener struct {
	topic           string
	namespace       string // whose it is
	listening, ring func()
	failed          chan error // room for one
}

// Changed receives when Topics may be others than before.
func (l *Listeners) Changed() <-chan struct{} { return l.changed }

// Topics are what is listened for now, each once and in order. None means that
// nobody is left, and is final: run has to return.
func (l *Listeners) Topics() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = l.over || len(l.all) == 0
	return slices.Sorted(maps.Keys(l.all))
}

// Listening tells those who wait for one of the topics that they would hear it
// from now on.
func (l *Listeners) Listening(topics []string) {
	l.mu.Lock()
	if l.since.IsZero() {
		l.since = time.Now()
	}
	l.mu.Unlock()
	for _, one := range l.who(topics) {
		one.listening()
	}
}

// Ring rings for all who listen for one of the topics.
func (l *Listeners) Ring(topics ...string) {
	for _, one := range l.who(topics) {
		one.ring()
	}
}

// Fail ends listening for one of the topics alone.
func (l *Listeners) Fail(topic string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range l.all[topic] {
		one.failed <- err
		l.forget(one)
	}
	l.wake()
}

func (l *Listeners) listeningSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since
}

func (l *Listeners) who(topics []string) []*listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*listener
	for _, topic := range topics {
		found = slices.AppendSeq(found, maps.Keys(l.all[topic]))
	}
	return found
}

// add is false when nobody listens for them any more.
func (l *Listeners) add(one *listener) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false, nil
	}
	if l.all[one.topic] == nil {
		switch {
		case len(l.all) >= mostTopics:
			return false, fmt.Errorf("%w: %d others are listened for on the same connection, which is the most", contract.ErrDoorbellRefused, mostTopics)
		case l.of[one.namespace] >= mostTopicsOfOne:
			return false, fmt.Errorf("%w: %d others of the namespace are listened for on the same connection, which is the most", contract.ErrDoorbellRefused, mostTopicsOfOne)
		}
		l.all[one.topic] = map[*listener]struct{}{}
	}
	l.all[one.topic][one] = struct{}{}
	l.of[one.namespace]++
	l.wake()
	return true, nil
}

func (l *Listeners) leave(one *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(one)
	l.wake()
}

// forget is called with l.mu held, and may be called twice.
func (l *Listeners) forget(one *listener) {
	if _, listens := l.all[one.topic][one]; !listens {
		return
	}
	delete(l.all[one.topic], one)
	if len(l.all[one.topic]) == 0 {
		delete(l.all, one.topic)
	}
	if l.of[one.namespace]--; l.of[one.namespace] == 0 {
		delete(l.of, one.namespace)
	}
}

func (l *Listeners) wake() {
	select {
	case l.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// end tells all listeners why nobody listens for them any more.
func (l *Listeners) end(err error) {
	if err == nil {
		err = errors.New("listening ended")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, some := range l.all {
		for one := range some {
			one.failed <- err
		}
	}
	clear(l.all)
}
