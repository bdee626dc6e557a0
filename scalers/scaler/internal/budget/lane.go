package budget

import (
	"cmp"
	"context"
	"errors"
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
// namespace holds already, and of equals by how long the namespace has waited for
// one, so that nobody holds the lane by waiting for it more often; who holds a share
// without using it makes way; and so does the oldest share of a namespace with more
// than half of the lane, whatever is done with it.
type lane struct {
	limit, size int64
	// pace is what has to come of an answer within longestSilence: with less
	// it would not be complete within any usual time.
	pace int64
	// room is how many bytes of answers may have come that wait for the lane.
	room int64

	mu      sync.Mutex
	used    int64
	come    int64 // what has come of the answers that wait
	now     uint64
	callers map[string]*caller  // by namespace, those that hold something or wait
	granted map[*share]struct{} // those that can be told to make way
	alarm   *time.Timer         // that has the next of them do so; nil for none
}

// caller is a namespace in a lane.
type caller struct {
	held    int64 // of used
	come    int64
	waiting []*share // in the order in which they came
	since   uint64   // when it came, or was given a share or gave one back
}

func newLane(least, limit, size, room int64) *lane {
	return &lane{
		limit: limit, size: size, pace: least / 16, room: room,
		callers: map[string]*caller{}, granted: map[*share]struct{}{},
	}
}

// share is a part of a lane that is held or waited for.
type share struct {
	lane      *lane
	bytes     int64
	come      int64 // what has come of the answer that waits
	namespace string
	held      bool
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
		lane: l, bytes: min(bytes, l.size), come: min(come, l.room),
		granted: make(chan struct{}), crowded: make(chan struct{}), end: end, coming: coming,
	}
	l.mu.Lock()
	s.namespace = l.least(Namespaces(ctx))
	l.wait(s)
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

// least is the one of several namespaces that holds the least, of equals the one with
// the fewest that wait. l.mu is held, as below.
func (l *lane) least(of []string) string {
	if len(of) == 1 {
		return of[0]
	}
	none := &caller{}
	return slices.MinFunc(of, func(one, other string) int {
		a, b := cmp.Or(l.callers[one], none), cmp.Or(l.callers[other], none)
		return cmp.Or(cmp.Compare(a.held, b.held), cmp.Compare(len(a.waiting), len(b.waiting)))
	})
}

// wait has a share wait for its turn.
func (l *lane) wait(s *share) {
	c := l.callers[s.namespace]
	if c == nil {
		c = &caller{}
		l.callers[s.namespace] = c
	}
	if len(c.waiting) == 0 {
		l.changed(c)
	}
	c.waiting = append(c.waiting, s)
	c.come += s.come
	l.come += s.come
}

// changed puts a namespace behind those that hold as much.
func (l *lane) changed(c *caller) {
	l.now++
	c.since = l.now
}

// leave has the one at a place of those wait no more who wait of a namespace.
func (l *lane) leave(c *caller, at int) {
	s := c.waiting[at]
	c.waiting = slices.Delete(c.waiting, at, at+1)
	c.come -= s.come
	l.come -= s.come
	l.forget(s.namespace, c)
}

// forget forgets a namespace that neither holds anything nor waits.
func (l *lane) forget(namespace string, c *caller) {
	if c.held == 0 && len(c.waiting) == 0 {
		delete(l.callers, namespace)
	}
}

// makeRoom has those wait no more for whom there is no room: the last of the
// namespace that has the most, in the room and in the lane, and of the one that
// came last among equals.
func (l *lane) makeRoom() {
	for l.come > l.room {
		var most *caller
		for _, c := range l.callers {
			if c.come == 0 {
				continue
			}
			if most == nil || c.held+c.come > most.held+most.come || c.held+c.come == most.held+most.come && c.since > most.since {
				most = c
			}
		}
		at := len(most.waiting) - 1
		for most.waiting[at].come == 0 {
			at--
		}
		s := most.waiting[at]
		l.leave(most, at)
		close(s.crowded)
	}
}

// admit grants what there is a place for.
func (l *lane) admit() {
	for c := l.next(); c != nil; c = l.next() {
		s := c.waiting[0]
		if l.used+s.bytes > l.size {
			break
		}
		l.used += s.bytes
		c.held += s.bytes
		l.leave(c, 0)
		l.changed(c)
		s.held = true
		if s.at = time.Now(); s.end != nil {
			s.since = s.at
			l.granted[s] = struct{}{}
		}
		close(s.granted)
	}
	l.watch()
}

// next is whose turn it is, nil where nobody waits: that of a namespace that holds
// the least.
func (l *lane) next() (first *caller) {
	for _, c := range l.callers {
		if len(c.waiting) == 0 {
			continue
		}
		if first == nil || c.held < first.held || c.held == first.held && c.since < first.since {
			first = c
		}
	}
	return first
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
	turn := l.next()
	if turn == nil {
		return nil, time.Time{}, nil
	}
	next, left := turn.waiting[0], l.size-l.used
	shares, ending := map[string]int{}, map[string]int64{}
	for s := range l.granted {
		if s.ended {
			left += s.bytes
			ending[s.namespace] += s.bytes
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
		stays := l.callers[s.namespace].held - ending[s.namespace]
		if s.namespace == next.namespace || stays <= l.size-max(next.bytes, l.size/2) {
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
	c := l.callers[s.namespace]
	if s.held {
		l.used -= s.bytes
		c.held -= s.bytes
		delete(l.granted, s)
		l.changed(c)
		l.forget(s.namespace, c)
	} else if c != nil {
		if at := slices.Index(c.waiting, s); at >= 0 {
			l.leave(c, at)
		}
	}
	l.admit()
}
