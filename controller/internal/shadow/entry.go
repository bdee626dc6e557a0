package shadow

import (
	"time"

	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
)

const (
	// mostBytes are kept of all objects, mostOfOne of those of one namespace.
	mostBytes, mostOfOne = 64 << 20, 32 << 20
	// What is counted for an object, for each of its triggers with what is
	// remembered of it, and for each metric beside its name.
	bytesOfObject, bytesOfTrigger, bytesOfMetric = 4 << 10, 1 << 10, 512
	// mostMetrics are compared of one object.
	mostMetrics = 100
	// mostActs are remembered of one object.
	mostActs = 3
	// spans are kept of a metric: the HPA may have been told any of them.
	spans = 4
)

// entry is what is kept of one object. What is told of it is replaced as a
// whole, with the lock held; everything else is the look's alone.
type entry struct {
	bytes int
	// uid of the object, since one that is made again is another.
	uid string

	object activation.Thought
	jobs   scaledjob.Thought
	target read
	// replicas at the last look, nil before.
	replicas *int32
	windows  map[string]*window

	next, told equivalence.Object
}

// read is what was read of a target last. The rest of it is not kept: it may be
// large, and outlive the target.
type read struct {
	replicas  int32
	unwatched bool
	err       error
	at        time.Time
}

// room is what all entries take.
type room struct {
	all int
	of  map[string]int // by namespace
}

// enter takes room for an object of a namespace, if there is some.
func (r *room) enter(namespace string, bytes int) bool {
	if r.all+bytes > mostBytes || r.of[namespace]+bytes > mostOfOne {
		return false
	}
	if r.of == nil {
		r.of = map[string]int{}
	}
	r.all += bytes
	r.of[namespace] += bytes
	return true
}

func (r *room) leave(namespace string, bytes int) {
	r.all -= bytes
	if r.of[namespace] -= bytes; r.of[namespace] <= 0 {
		delete(r.of, namespace)
	}
}

// entry is what is kept of an object, nil where there is no room for it.
func (s *Shadow) entry(of id, triggers int) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[of]; e != nil {
		return e
	}
	bytes := bytesOfObject + triggers*bytesOfTrigger
	if !s.room.enter(of.key.Namespace, bytes) {
		return nil
	}
	e := &entry{bytes: bytes}
	e.told.Verdict = equivalence.Unknown
	e.told.Kind, e.told.Namespace, e.told.Name = of.kind, of.key.Namespace, of.key.Name
	e.next = e.told
	if s.entries == nil {
		s.entries = map[id]*entry{}
	}
	s.entries[of] = e
	return e
}

// keep judges what is known of an object now, and tells it from here on. An
// object that came to take more than there is room for is told of no more.
func (s *Shadow) keep(of id, e *entry) {
	e.next.Judge(s.Now())
	bytes := bytesOfObject + len(e.next.Triggers)*bytesOfTrigger + len(e.next.Problem)
	for _, m := range e.next.Metrics {
		bytes += bytesOfMetric + 3*len(m.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.leave(of.key.Namespace, e.bytes)
	if !s.room.enter(of.key.Namespace, bytes) {
		delete(s.entries, of)
		return
	}
	e.bytes, e.told = bytes, e.next
}

// window is what was read of a metric lately.
type window struct {
	from time.Time
	all  [spans]span
}

// span is the lowest and highest of some time.
type span struct {
	some      bool
	low, high float64
}

// add takes a reading into account; each span is as long as said.
func (w *window) add(v float64, now time.Time, length time.Duration) {
	if now.Sub(w.from) >= length {
		copy(w.all[1:], w.all[:spans-1])
		w.from, w.all[0] = now, span{}
	}
	s := &w.all[0]
	if !s.some {
		*s = span{true, v, v}
	}
	s.low, s.high = min(s.low, v), max(s.high, v)
}

// limits are the lowest and highest of all spans.
func (w *window) limits() (low, high float64) {
	low, high = w.all[0].low, w.all[0].high
	for _, s := range w.all[1:] {
		if s.some {
			low, high = min(low, s.low), max(high, s.high)
		}
	}
	return low, high
}

// acted takes note of a change between rest and work, and of one that would have
// been made.
func (e *entry) acted(now time.Time, replicas, would *int32, atRest func(int32) bool) {
	o := &e.next
	acts := append([]equivalence.Act{}, o.Acts...)
	open := len(acts) > 0 && acts[0].Did == nil
	before := e.replicas
	if e.replicas = replicas; replicas == nil {
		return
	}
	switch {
	case before != nil && atRest(*before) != atRest(*replicas):
		if !open {
			acts = append([]equivalence.Act{{Time: now, From: *before}}, acts...)
		}
		did := *replicas
		acts[0].Did, acts[0].After = &did, now
	case would != nil && atRest(*would) != atRest(*replicas):
		if !open {
			acts = append([]equivalence.Act{{Time: now, From: *replicas}}, acts...)
		}
		wanted := *would
		acts[0].Would = &wanted
	case open: // it would no longer
		acts = acts[1:]
	}
	o.Acts = acts[:min(len(acts), mostActs)]
}
