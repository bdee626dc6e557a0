package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/retry"
)

// SharedBell lets all Ringers of one connection that listen at the same place share
// what listens there: one subscription for a thousand keys, channels or topics.
// It is what a Ringer's Listen calls.
type SharedBell struct {
	start func(run func(context.Context)) // in a goroutine that Close ends and waits for
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	places  map[string]*Ears
	retries map[string]*pause // of places where listening failed
}

// mostTopics is how many topics are listened for at one place, so that nobody
// has a server remember any number of them.
const mostTopics = 10_000

// pause is when listening at a place is tried again. All who want to listen
// there wait for the same attempt: a thousand of them are one to the server.
type pause struct {
	retry.Backoff
	refusal error // the place does not let us listen; nil when it just failed
}

// NewSharedBell returns a bell that nobody listens to. It has the values of ctx
// and goes on until Close.
func NewSharedBell(ctx context.Context) *SharedBell {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &SharedBell{stop: stop, places: map[string]*Ears{}, retries: map[string]*pause{}}
	b.start = func(run func(context.Context)) { b.done.Go(func() { run(ctx) }) }
	return b
}

// Close ends all listening.
func (b *SharedBell) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.done.Wait()
}

// Listen calls ring when something happens to topic at place, until ctx ends,
// and listening once that is so. The first who listens at a place starts run,
// which listens for all others there, too; its error ends listening for all.
// After an error run is started again, ever later up to a minute; one wrapping
// ErrDoorbellRefused is the answer to everybody for some time.
//
// run returns when ctx ends, when something fails, or when Ears.Topics says
// that nobody is left.
func (b *SharedBell) Listen(ctx context.Context, place, topic string, run func(context.Context, *Ears) error, listening, ring func()) error {
	e := &ear{topic: topic, listening: sync.OnceFunc(listening), ring: ring, failed: make(chan error, 1)}
	at, err := b.joinInTime(ctx, place, e, run)
	if err != nil {
		return err
	}
	defer at.leave(e)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-e.failed:
		return err
	}
}

// joinInTime adds an ear to those at a place, as soon as one may listen there.
func (b *SharedBell) joinInTime(ctx context.Context, place string, e *ear, run func(context.Context, *Ears) error) (*Ears, error) {
	for {
		at, next, err := b.join(place, e, run)
		if at != nil || err != nil {
			return at, err
		}
		if err := retry.SleepUntil(ctx, next); err != nil {
			return nil, err
		}
	}
}

// join adds an ear to those at a place; the first one starts run. At a place
// that rests it returns when that ends.
func (b *SharedBell) join(place string, e *ear, run func(context.Context, *Ears) error) (at *Ears, next time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, next, errors.New("the connection is closed")
	}
	if at := b.places[place]; at != nil {
		switch added, err := at.add(e); {
		case err != nil:
			return nil, next, err
		case added:
			return at, next, nil
		}
	}
	if r := b.retries[place]; r != nil && time.Now().Before(r.Due()) {
		return nil, r.Due(), r.refusal
	}
	return b.begin(place, e, run), next, nil
}

// begin starts run for a first ear. b.mu is held.
func (b *SharedBell) begin(place string, e *ear, run func(context.Context, *Ears) error) *Ears {
	at := &Ears{changed: make(chan struct{}, 1), all: map[string]map[*ear]struct{}{e.topic: {e: {}}}}
	b.places[place] = at
	b.start(func(ctx context.Context) {
		err := runSafely(ctx, at, run)
		b.mu.Lock()
		if b.places[place] == at {
			delete(b.places, place)
		}
		b.ended(place, at, err)
		b.mu.Unlock()
		at.end(err)
	})
	return at
}

// ended plans when a place is listened at again. b.mu is held.
func (b *SharedBell) ended(place string, at *Ears, err error) {
	if err == nil {
		return // nobody is left
	}
	maps.DeleteFunc(b.retries, func(_ string, r *pause) bool { return time.Since(r.Due()) > contract.AskAgain })
	r := b.retries[place]
	if r == nil {
		r = &pause{}
		b.retries[place] = r
	}
	r.refusal = nil
	r.Ended(at.listeningSince())
	if errors.Is(err, contract.ErrDoorbellRefused) {
		r.Rest(contract.AskAgain)
		r.refusal = err
	}
}

func runSafely(ctx context.Context, at *Ears, run func(context.Context, *Ears) error) (err error) {
	defer defect.Recovered("listen", &err)
	return run(ctx, at)
}

// Ears are all who listen at one place.
type Ears struct {
	changed chan struct{} // room for one

	mu    sync.Mutex
	all   map[string]map[*ear]struct{} // by topic
	over  bool                         // nobody listens for them any more: others start anew
	since time.Time                    // the first of them is listened for
}

// ear is one question that listens.
type ear struct {
	topic           string
	listening, ring func()
	failed          chan error // room for one
}

// Changed receives when Topics may be others than before.
func (e *Ears) Changed() <-chan struct{} { return e.changed }

// Topics are what is listened for now, each once and in order. None means that
// nobody is left, and is final: run has to return.
func (e *Ears) Topics() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = e.over || len(e.all) == 0
	return slices.Sorted(maps.Keys(e.all))
}

// Listening tells those who wait for one of the topics that they would hear it
// from now on.
func (e *Ears) Listening(topics []string) {
	e.mu.Lock()
	if e.since.IsZero() {
		e.since = time.Now()
	}
	e.mu.Unlock()
	for _, one := range e.of(topics) {
		one.listening()
	}
}

// Ring rings for all who listen for one of the topics.
func (e *Ears) Ring(topics ...string) {
	for _, one := range e.of(topics) {
		one.ring()
	}
}

// Fail ends listening for one of the topics alone.
func (e *Ears) Fail(topic string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for one := range e.all[topic] {
		one.failed <- err
	}
	delete(e.all, topic)
	e.wake()
}

func (e *Ears) listeningSince() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.since
}

func (e *Ears) of(topics []string) []*ear {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []*ear
	for _, topic := range topics {
		found = slices.AppendSeq(found, maps.Keys(e.all[topic]))
	}
	return found
}

// add is false when nobody listens for the ears any more.
func (e *Ears) add(one *ear) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false, nil
	}
	if e.all[one.topic] == nil {
		if len(e.all) >= mostTopics {
			return false, fmt.Errorf("%w: %d others are listened for on the same connection, which is the most", contract.ErrDoorbellRefused, mostTopics)
		}
		e.all[one.topic] = map[*ear]struct{}{}
	}
	e.all[one.topic][one] = struct{}{}
	e.wake()
	return true, nil
}

func (e *Ears) leave(one *ear) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all[one.topic], one)
	if len(e.all[one.topic]) == 0 {
		delete(e.all, one.topic)
	}
	e.wake()
}

func (e *Ears) wake() {
	select {
	case e.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// end tells all ears why nobody listens for them any more.
func (e *Ears) end(err error) {
	if err == nil {
		err = errors.New("listening ended")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	for _, ears := range e.all {
		for one := range ears {
			one.failed <- err
		}
	}
	clear(e.all)
}
