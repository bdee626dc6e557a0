package budget

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// longestSilence is how long a server may hold a share for an answer of which
// too little comes, while others wait for it.
const longestSilence = time.Second

// errSilent is the failure of a read that had to make way.
var errSilent = words.Plain(codes.Unavailable,
	"the server sent part of a large answer and then too little of it, while others waited for the memory that it held (--answer-memory)")

const (
	// longestHold is how long a namespace may hold a share beyond half of a lane
	// while others wait for it, and longestAlone how long one that is all that it
	// holds, however large.
	longestHold  = time.Second
	longestAlone = 5 * time.Second
)

// errMadeWay is the failure of a read whose namespace held too much.
var errMadeWay = words.Plain(codes.ResourceExhausted,
	"reads of the namespace held more than half of the memory that large answers may take, while others waited for it (--answer-memory)")

// MadeWay is the failure of a read that ended, with the context, because its
// shares had to make way; else nil.
func MadeWay(ctx context.Context) error {
	cause := context.Cause(ctx)
	for _, err := range []error{errSilent, errMadeWay} {
		if errors.Is(cause, err) {
			return err
		}
	}
	return nil
}

// lane is for what takes up to limit bytes. Who waits has its turn by what its
// namespace holds already, so that nobody holds the lane by waiting for it more
// often; who holds a share without using it makes way; and so does the oldest
// share of a namespace with more than half of the lane, whatever is done with it.
type lane struct {
	limit, size int64
	// pace is what has to come of an answer within longestSilence: with less
	// it would not be complete within any usual time.
	pace int64
	// room is how many bytes of answers may have come that wait for the lane.
	room int64

	mu      sync.Mutex
	used    int64
	held    map[string]int64    // of used, by namespace
	waiting []*share            // in the order in which they came
	granted map[*share]struct{} // those that can be told to make way
	alarm   *time.Timer         // that has the next of them do so; nil for none
}

func newLane(least, limit, size, room int64) *lane {
	return &lane{
		limit: limit, size: size, pace: least / 16, room: room,
		held: map[string]int64{}, granted: map[*share]struct{}{},
	}
}

// share is a part of a lane that is held or waited for.
type share struct {
	lane      *lane
	bytes     int64
	come      int64 // what has come of the answer that waits
	namespace string
	granted   chan struct{}
	crowded   chan struct{} // closed when it has to wait no more
	// end ends what it is for: the request of an answer, or, once that came, what
	// is made of it. It is nil where there is nothing to end.
	end   context.CancelCauseFunc
	ended bool
	at    time.Time // when it was granted
	// coming is true while its answer comes, since when so much had come last as a
	// pace asks for, and fresh what came afterwards.
	coming bool
	since  time.Time
	fresh  int64
}

// acquire waits for a share as long as ctx, of an answer that comes, of which
// there is come, or of a document.
func (l *lane) acquire(ctx context.Context, bytes, come int64, coming bool, end context.CancelCauseFunc) (*share, error) {
	s := &share{
		lane: l, bytes: min(bytes, l.size), come: min(come, l.room), namespace: Namespace(ctx),
		granted: make(chan struct{}), crowded: make(chan struct{}), end: end, coming: coming,
	}
	l.mu.Lock()
	l.waiting = append(l.waiting, s)
	l.admit()
	l.makeRoom()
	l.mu.Unlock()
	select {
	case <-s.granted:
		return s, nil
	case <-s.crowded:
	case <-ctx.Done():
	}
	s.release()
	return nil, errNoShare
}

// makeRoom has those wait no more for whom there is no room: the last of the
// namespace that has the most, in the room and in the lane, and of the one that
// came last among equals. l.mu is held, as below.
func (l *lane) makeRoom() {
	all, largest := int64(0), ""
	of := maps.Clone(l.held)
	for _, s := range l.waiting {
		all += s.come
		if of[s.namespace] += s.come; s.come > 0 && of[s.namespace] >= of[largest] {
			largest = s.namespace
		}
	}
	for at := len(l.waiting) - 1; at >= 0 && all > l.room; at-- {
		if s := l.waiting[at]; s.namespace == largest && s.come > 0 {
			all -= s.come
			l.waiting = slices.Delete(l.waiting, at, at+1)
			s.bytes = 0 // it has nothing to give back
			close(s.crowded)
		}
	}
}

// admit grants what there is a place for.
func (l *lane) admit() {
	for len(l.waiting) > 0 {
		at := l.next()
		s := l.waiting[at]
		if l.used+s.bytes > l.size {
			break
		}
		l.waiting = slices.Delete(l.waiting, at, at+1)
		l.used += s.bytes
		l.held[s.namespace] += s.bytes
		if s.at = time.Now(); s.end != nil {
			s.since = s.at
			l.granted[s] = struct{}{}
		}
		close(s.granted)
	}
	l.watch()
}

// next is whose turn it is: the first of a namespace that holds the least.
func (l *lane) next() (at int) {
	for i, s := range l.waiting {
		if l.held[s.namespace] < l.held[l.waiting[at].namespace] {
			at = i
		}
	}
	return at
}

// watch has the next one make way in time, as long as somebody waits.
func (l *lane) watch() {
	if l.alarm != nil {
		l.alarm.Stop()
		l.alarm = nil
	}
	if s, at, _ := l.inTheWay(); s != nil {
		l.alarm = time.AfterFunc(time.Until(at), l.makeWay)
	}
}

// inTheWay is who has to make way first for whose turn it is, when, and why. There
// is nobody as soon as there is room for that one, or will be: others are to be
// ended only where that is needed.
func (l *lane) inTheWay() (first *share, at time.Time, why error) {
	if len(l.waiting) == 0 {
		return nil, time.Time{}, nil
	}
	next, left := l.waiting[l.next()], l.size-l.used
	shares, stays := map[string]int{}, maps.Clone(l.held)
	for s := range l.granted {
		if s.ended {
			left += s.bytes
			stays[s.namespace] -= s.bytes
		} else {
			shares[s.namespace]++
		}
	}
	if next.bytes <= left {
		return nil, time.Time{}, nil
	}
	sooner := func(s *share, due time.Time, err error) {
		if first == nil || due.Before(at) {
			first, at, why = s, due, err
		}
	}
	for s := range l.granted {
		if s.ended {
			continue
		}
		if s.coming {
			sooner(s, s.since.Add(longestSilence), errSilent)
		}
		if s.namespace == next.namespace || stays[s.namespace] <= l.size-max(next.bytes, l.size/2) {
			continue
		}
		if shares[s.namespace] > 1 {
			sooner(s, s.at.Add(longestHold), errMadeWay)
		} else {
			sooner(s, s.at.Add(longestAlone), errMadeWay)
		}
	}
	return first, at, why
}

// makeWay ends those whose time it is.
func (l *lane) makeWay() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		s, at, why := l.inTheWay()
		if s == nil || time.Now().Before(at) {
			break
		}
		s.ended = true
		s.end(why)
	}
	l.watch()
}

// came notes that some bytes of an answer came.
func (s *share) came(bytes int) {
	s.lane.mu.Lock()
	defer s.lane.mu.Unlock()
	if s.fresh += int64(bytes); s.fresh >= s.lane.pace {
		s.since, s.fresh = time.Now(), 0
	}
}

// complete notes that the answer is there: what holds the share now is at work,
// which end ends; nil for nobody who goes on to hold it.
func (s *share) complete(end context.CancelCauseFunc) {
	l := s.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	s.coming, s.end = false, end
	switch {
	case end == nil:
		delete(l.granted, s)
	case s.ended: // at the same moment
		end(errMadeWay)
	}
	l.watch()
}

// release gives the share back, or waits for it no more. It is called once.
func (s *share) release() {
	l := s.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := slices.Index(l.waiting, s); at >= 0 {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	} else {
		l.used -= s.bytes
		if l.held[s.namespace] -= s.bytes; l.held[s.namespace] == 0 {
			delete(l.held, s.namespace)
		}
		delete(l.granted, s)
	}
	l.admit()
}

type namespaceKey struct{}

// Of has shares that are taken with the context count for a namespace.
func Of(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, namespaceKey{}, namespace)
}

// Namespace is that of Of, "" without one.
func Namespace(ctx context.Context) string {
	of, _ := ctx.Value(namespaceKey{}).(string)
	return of
}
