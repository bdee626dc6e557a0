package federation

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// subscription is one trigger that the core wants to know of.
type subscription struct {
	id        string
	namespace string
	was       func(ID) // tells of a changed state; never blocks
	places    *places

	// Which instance has it: guarded by the Federation.
	service       *service
	key           uint64      // of its question
	current, next *assignment // next is being moved to; current still answers
	share         share       // of what it has a part, or waits for one
	bytes         int         // that it takes of the places, but for what is said of it

	mu      sync.Mutex
	trigger Trigger
	state   State
	said    int // bytes that it takes of the places for that
	// unheard is why nothing is kept of what is said, until it is told of anew.
	unheard error
}

// assignment is a subscription at an instance, for one content of the trigger.
// It is replaced, never reused.
type assignment struct {
	sub        *subscription
	inst       *instance
	subscriber subscriber
	generation int64

	// awaited is true while the subscription is moving here: the first answer
	// completes the move.
	awaited atomic.Bool

	// Guarded by sub.mu.
	closed   bool
	accepted bool
	count    uint64    // activations that the peer has told of
	told     time.Time // the last beat that was passed on
}

// snapshot returns the trigger as it is now.
func (s *subscription) snapshot() Trigger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trigger
}

// last are the values of the last read that had any.
func (s *subscription) last() []Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.last
}

// silenced says why nothing is kept of what is said, nil where something is.
func (s *subscription) silenced() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unheard
}

// replace takes a new version of the trigger over at a moment. What was
// observed stays when both ask for the same. Where only the surroundings of the
// trigger changed, such as the workload's environment, it stays until there is
// an answer, marked as of before.
func (s *subscription) replace(t Trigger, family string, now time.Time) {
	s.mu.Lock()
	switch before := s.trigger; {
	case before.same(t):
	case before.sameSpec(t):
		s.state.Earlier, s.state.Since, s.state.Accepted, s.state.last = true, now, false, nil
	default:
		s.state = State{Activations: s.state.Activations, Unreachable: s.state.Unreachable, Since: now}
	}
	s.trigger = t
	s.state.Generation, s.state.Type, s.state.Family = t.Generation, t.Type, family
	s.state.Rejected = nil
	s.unheard = nil
	s.places.speaks(s)
	s.fit(now)
	s.mu.Unlock()
	s.was(t.ID)
}

// updatePacing takes over what may change within a generation and reports whether it
// did.
func (s *subscription) updatePacing(t Trigger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.trigger.pace() != t.pace()
	s.trigger = t
	return changed
}

// reach records who serves the trigger, or why nobody can be asked.
func (s *subscription) reach(family string, unreachable error) {
	s.mu.Lock()
	changed := s.state.Family != family || !sameError(s.state.Unreachable, unreachable)
	s.state.Family, s.state.Unreachable = family, unreachable
	id := s.trigger.ID
	s.mu.Unlock()
	if changed {
		s.was(id)
	}
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	if isLate(a) || isLate(b) {
		return a == b //nolint:errorlint // reading them is what must not be done here
	}
	return a.Error() == b.Error()
}

// apply changes the state by what a peer said, unless the assignment is no longer
// one that speaks for the trigger. change reports whether it changed anything,
// and so does apply.
func (s *assignment) apply(change func(*State) bool) bool {
	changed, id := s.change(change)
	if changed {
		s.sub.was(id)
	}
	return changed
}

func (s *assignment) change(change func(*State) bool) (changed bool, id ID) {
	s.sub.mu.Lock()
	defer s.sub.mu.Unlock()
	if s.closed || !change(&s.sub.state) {
		return false, s.sub.trigger.ID
	}
	s.sub.fit(s.inst.fed.clock.Now())
	return true, s.sub.trigger.ID
}

// fit counts what is said of the trigger. Where there is no room for it less is
// kept: words, and then everything; s.mu is held.
func (s *subscription) fit(now time.Time) {
	if s.unheard == nil {
		if s.count() == nil {
			return
		}
		s.state.shorten()
		if s.unheard = s.count(); s.unheard == nil {
			return
		}
		s.places.falls(s)
	}
	s.state.silence(s.unheard, now)
	_ = s.count() // it has become less
}

// hear has what is said kept again, as far as there is room.
func (s *subscription) hear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unheard != nil {
		s.unheard = nil
		s.places.speaks(s)
	}
}

// count has the places of what is said; s.mu is held.
func (s *subscription) count() error {
	said := max(s.state.said()-freeWords, 0)
	if said == s.said {
		return nil
	}
	if err := s.places.take(s.namespace, 0, said-s.said); err != nil {
		return err
	}
	s.said = said
	return nil
}

// forget gives back what is counted of what was said. Nothing is said any more.
func (s *subscription) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places.leave(s.namespace, 0, s.said)
	s.said = 0
	s.places.speaks(s)
}

// defective records that what was said of the trigger could not be understood,
// by a mistake of ours.
func (s *assignment) defective(err error) {
	now := s.inst.fed.clock.Now()
	s.apply(func(state *State) bool {
		state.observe(reading{outcome: scaling.Failed, err: coded(codes.Internal, "%v", err), at: now, heard: now, detectedBy: DetectionPolling}, 0)
		return true
	})
}

// reject records that the trigger cannot be served as it stands, and its
// metrics where they are known all the same.
func (s *assignment) reject(err error, specs ...MetricSpec) {
	if s.apply(func(state *State) bool {
		s.accepted = false
		state.Accepted, state.Rejected = false, err
		if len(specs) > 0 {
			state.Specs, state.HaveSpecs = specs, true
		}
		return true
	}) {
		s.answer()
	}
}

// answer completes the move of a subscription that was waiting for one.
func (s *assignment) answer() {
	if s.awaited.Load() {
		s.inst.fed.arrived(s)
	}
}

func (s *assignment) close() {
	s.sub.mu.Lock()
	s.closed = true
	s.sub.mu.Unlock()
}

// reading is one observation in the core's own terms.
type reading struct {
	outcome    scaling.Outcome
	values     []Value
	err        error
	at         time.Time // when the source was read
	took       time.Duration
	heard      time.Time
	detectedBy Detection
	note       string
	eventTime  time.Time
	trace      string
}

// observe records a reading. turned is how often the trigger turned active
// since the last one.
func (s *State) observe(r reading, turned uint64) {
	s.Outcome, s.Values, s.Err, s.Earlier = r.outcome, r.values, r.err, false
	s.ObservedAt, s.Took, s.HeardAt = r.at, r.took, r.heard
	s.DetectedBy, s.Note, s.SourceEventTime = r.detectedBy, r.note, r.eventTime
	s.Traceparent = r.trace
	s.Activations += turned
}
