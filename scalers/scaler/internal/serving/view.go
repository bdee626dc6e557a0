package serving

import (
	"context"
	"errors"
	"sync"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// view is the subscriptions of one Watch stream. Two controllers may hold the
// same ids: each has its own view, and the questions behind are shared.
type view struct {
	core *core
	wake chan struct{} // has room for one: there is news

	mu      sync.Mutex
	entries map[string]*entry
	fresh   []*entry // with news, each once, in order
	closed  bool
}

// entry is one subscription of a view. id, generation, sub, rejected and metrics are
// set before it is put there; isFresh is guarded by view.mu; told belongs to
// the sender alone.
type entry struct {
	id         string
	generation int64
	sub        *subscription
	rejected   *status.Status    // instead of sub
	metrics    []contract.Metric // of a rejected one, as far as they are known
	isFresh    bool              // in view.fresh

	told told
}

// told is what the client knows about an entry.
type told struct {
	accepted    bool
	warnings    []string
	specs       []contract.Metric
	observation *observation
	activations uint64
	at          time.Time // of the read behind observation
}

const (
	// mostEntries is what one stream may subscribe: far above what a cluster
	// has. mostOfGuest is the same for whom the core does not stand for.
	mostEntries, mostOfGuest = 200_000, 1000
	// longestID is what the name of a subscription may have: kind, namespace,
	// name and index fit in many times over.
	longestID = 1 << 10
)

func newView(c *core) *view {
	return &view{core: c, wake: make(chan struct{}, 1), entries: map[string]*entry{}}
}

// subscribe adds, replaces or changes a subscription. The error ends the
// stream: the frame makes no sense.
func (v *view) subscribe(ctx context.Context, r *scalerv1.Subscribe) error {
	if r.GetId() == "" || r.GetRef() == nil {
		return status.Error(codes.InvalidArgument, "subscribe: id and ref are required")
	}
	if len(r.GetId()) > longestID {
		return status.Errorf(codes.InvalidArgument, "subscribe: the id has %d bytes, of %d that it may have", len(r.GetId()), longestID)
	}
	req := trigger.Request{Ref: r.GetRef()}
	w := watchWish(req, r)
	v.mu.Lock()
	old, many := v.entries[r.GetId()], len(v.entries)
	v.mu.Unlock()
	if most := mostOf(ctx); old == nil && many >= most {
		return status.Errorf(codes.ResourceExhausted, "this stream has %d subscriptions, as many as it may", most)
	}
	if old != nil && old.rejected == nil {
		switch {
		case r.GetGeneration() < old.generation:
			return nil
		case r.GetGeneration() == old.generation && old.sub.req.Same(req):
			old.sub.change(w)
			return nil
		}
	}
	e := &entry{id: r.GetId(), generation: r.GetGeneration()}
	if t, err := v.core.trigger(ctx, req); err != nil {
		e.rejected = status.Convert(err)
	} else if sub, err := v.core.subscribe(ctx, t, req, w, func() { v.mark(e) }); err != nil {
		e.rejected = failure.Status(t.Type, err)
		if r := (*trigger.RejectionError)(nil); errors.As(err, &r) {
			e.metrics = r.Metrics
		}
	} else {
		sub.id, sub.generation = e.id, e.generation
		e.sub = sub
		if isCore(ctx) {
			v.core.register(sub)
		}
	}
	v.put(e)
	return nil
}

// mostOf is how many subscriptions a caller's stream may have, and how many
// triggers it may have asked for without one.
func mostOf(ctx context.Context) int {
	if isCore(ctx) {
		return mostEntries
	}
	return mostOfGuest
}

// watchWish is how the client of a stream wants a trigger sampled.
func watchWish(req trigger.Request, r *scalerv1.Subscribe) sampling.Wish {
	w := sampling.Wish{
		Interval: r.GetInterval().AsDuration(),
		Idle:     r.GetMode() != scalerv1.Mode_MODE_ACTIVE,
		Doorbell: r.GetDoorbell(),
	}
	if r.GetInterval() == nil {
		facts, _ := req.Facts()
		w.Interval = facts.Object.PollingInterval
	}
	w.Interval = max(w.Interval, scalerv1.ShortestInterval)
	return w
}

// put makes e the entry of its id and announces it.
func (v *view) put(e *entry) {
	v.mu.Lock()
	old := v.entries[e.id]
	closed := v.closed
	if !closed {
		v.entries[e.id] = e
	}
	v.mu.Unlock()
	if closed {
		v.end(e)
		return
	}
	if old != nil {
		v.end(old)
	}
	v.mark(e)
}

func (v *view) unsubscribe(id string) {
	v.mu.Lock()
	e := v.entries[id]
	delete(v.entries, id)
	v.mu.Unlock()
	if e != nil {
		v.end(e)
	}
}

// end ends the subscription of an entry that is no longer in the view.
func (v *view) end(e *entry) {
	if e.sub != nil {
		v.core.unregister(e.sub)
		e.sub.close()
	}
}

// close ends all subscriptions of the view.
func (v *view) close() {
	v.mu.Lock()
	v.closed = true
	entries := v.entries
	v.entries, v.fresh = nil, nil
	v.mu.Unlock()
	for _, e := range entries {
		v.end(e)
	}
}

// mark notes that there is something to tell about e.
func (v *view) mark(e *entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.isFresh || v.entries[e.id] != e {
		return
	}
	e.isFresh = true
	v.fresh = append(v.fresh, e)
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// news returns what there is to tell about the next entry with news, or
// nothing when there is none. It is called by the sender alone.
func (v *view) news() []*scalerv1.WatchResponse {
	for {
		v.mu.Lock()
		if len(v.fresh) == 0 {
			v.fresh = nil
			v.mu.Unlock()
			return nil
		}
		e := v.fresh[0]
		v.fresh[0] = nil
		v.fresh = v.fresh[1:]
		e.isFresh = false
		current := v.entries[e.id] == e
		if current && e.rejected != nil {
			delete(v.entries, e.id)
		}
		v.mu.Unlock()
		if !current {
			continue
		}
		if frames := e.frames(); len(frames) > 0 {
			return frames
		}
	}
}

// beats names the subscriptions that are still sampled and of which the client
// knows the latest.
func (v *view) beats(now time.Time) []*scalerv1.WatchResponse {
	v.mu.Lock()
	defer v.mu.Unlock()
	var frames []*scalerv1.WatchResponse
	var beat *scalerv1.Beat
	size := 0
	for _, e := range v.entries {
		if e.isFresh || e.told.observation == nil || !e.sub.holds(now) {
			continue
		}
		if beat == nil || size+len(e.id) > beatBytes {
			beat, size = &scalerv1.Beat{}, 0
			frames = append(frames, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Beat{Beat: beat}})
		}
		beat.Ids = append(beat.Ids, e.id)
		size += len(e.id) + 4 // tag and length
	}
	return frames
}

// holds is true while the last completed read is young enough to speak for the
// source.
func (s *subscription) holds(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.at) <= 2*s.wish.Interval+s.core.sampler.Deadline(s.binding.Timeout, s.wish.Interval)
}
