package budget

import (
	"context"
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

// lane is for what takes up to limit bytes. Who waits has its turn by what its
// namespace holds already, so that nobody holds the lane by waiting for it more
// often; and who holds a share without using it makes way.
type lane struct {
	limit, size int64
	// pace is what has to come of an answer within longestSilence: with less
	// it would not be complete within any usual time.
	pace int64
	// room is how many bytes of answers may have come that wait for the lane.
	room int64

	mu      sync.Mutex
	used    int64
	held    map[string]int64 // of used, by namespace
	waiting []*share         // in the order in which they came
	coming  map[*share]bool  // held for answers that still come; true where one was told to end
	alarm   *time.Timer      // that has the next of them end; nil for none
}

func newLane(least, limit, size, room int64) *lane {
	return &lane{
		limit: limit, size: size, pace: least / 16, room: room,
		held: map[string]int64{}, coming: map[*share]bool{},
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
	// end ends the request of the answer that it is for; nil for a document.
	end context.CancelCauseFunc
	// since is when so much had come last as a pace asks for, and fresh what
	// came afterwards.
	since time.Time
	fresh int64
}

// acquire waits for a share as long as ctx. come is what has come of the answer
// that it is for.
func (l *lane) acquire(ctx context.Context, bytes, come int64, end context.CancelCauseFunc) (*share, error) {
	s := &share{
		lane: l, bytes: min(bytes, l.size), come: min(come, l.room), namespace: Namespace(ctx),
		granted: make(chan struct{}), crowded: make(chan struct{}), end: end,
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
		if s.end != nil {
			s.since = time.Now()
			l.coming[s] = false
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

// watch has the longest silence end in time, as long as somebody waits. They
// end one by one: there may be room enough after the first.
func (l *lane) watch() {
	if l.alarm != nil {
		l.alarm.Stop()
		l.alarm = nil
	}
	if longest := l.longest(); longest != nil && len(l.waiting) > 0 {
		l.alarm = time.AfterFunc(time.Until(longest.since.Add(longestSilence)), l.endLongest)
	}
}

// longest is who has been silent for longest; nil while another ends.
func (l *lane) longest() (longest *share) {
	for s, ended := range l.coming {
		switch {
		case ended:
			return nil
		case longest == nil || s.since.Before(longest.since):
			longest = s
		}
	}
	return longest
}

func (l *lane) endLongest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.longest()
	if s != nil && len(l.waiting) > 0 && time.Since(s.since) >= longestSilence {
		l.coming[s] = true
		s.end(errSilent)
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

// complete notes that the answer is there: what holds the share now is at work.
func (s *share) complete() {
	s.lane.mu.Lock()
	defer s.lane.mu.Unlock()
	delete(s.lane.coming, s)
	s.lane.watch()
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
		delete(l.coming, s)
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
