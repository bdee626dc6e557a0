package federation

import (
	"cmp"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// share is what one namespace may have of one family.
type share struct{ namespace, family string }

// shares bound how many triggers of a family a namespace has, so that one
// namespace cannot take a family from all others. Those that are there go on;
// those that come later wait until there is room. Everything is guarded by the
// Federation.
type shares struct {
	most    int // 0 is any number
	taken   map[share]int
	waiting map[share]queues
}

// queues are the subscriptions that wait for a share, by Service: those of one
// that nobody reaches are passed by at once, however many they are.
type queues map[*service]map[*subscription]bool

func (q queues) has(sub *subscription) bool { return q[sub.service][sub] }

func (q queues) add(sub *subscription) {
	if q[sub.service] == nil {
		q[sub.service] = map[*subscription]bool{}
	}
	q[sub.service][sub] = true
}

func (q queues) remove(sub *subscription) {
	if delete(q[sub.service], sub); len(q[sub.service]) == 0 {
		delete(q, sub.service)
	}
}

func newShares(most int) shares {
	return shares{most: most, taken: map[share]int{}, waiting: map[share]queues{}}
}

// enter gives a subscription its part, or says why there is none for it.
func (s *shares) enter(of *service, sub *subscription) error {
	if s.most == 0 {
		return nil
	}
	wanted := share{sub.snapshot().Namespace, cmp.Or(of.view.family, of.triggerType)}
	if sub.share == wanted && !s.waiting[wanted].has(sub) {
		return nil
	}
	s.leave(sub)
	sub.share = wanted
	if s.taken[wanted] < s.most {
		s.taken[wanted]++
		return nil
	}
	if s.waiting[wanted] == nil {
		s.waiting[wanted] = queues{}
	}
	s.waiting[wanted].add(sub)
	return coded(codes.ResourceExhausted, "namespace %s has %d triggers of family %s already, as many as --max-namespace-triggers lets it have",
		wanted.namespace, s.most, wanted.family)
}

// leave takes a subscription's part back, and returns the share that has room
// by that.
func (s *shares) leave(sub *subscription) share {
	had := sub.share
	sub.share = share{}
	switch {
	case had == share{}:
	case s.waiting[had].has(sub):
		if s.waiting[had].remove(sub); len(s.waiting[had]) == 0 {
			delete(s.waiting, had)
		}
	default:
		if s.taken[had]--; s.taken[had] == 0 {
			delete(s.taken, had)
		}
	}
	return had
}

// makeRoom lets in those who wait for a share, as far as there is room. Whose
// Service nobody reaches takes none.
func (f *Federation) makeRoom(of share) {
	for s, queue := range f.shares.waiting[of] {
		if f.unreachable(s) != nil {
			continue
		}
		for sub := range queue {
			if f.shares.taken[of] >= f.shares.most {
				return
			}
			f.place(s, sub)
		}
	}
}

// SubscriptionBytes is what a process keeps of a trigger, beside its variables, what
// is large in it, and what is said of it at length.
const SubscriptionBytes = 1700 + freeWords

// freeWords is what a trigger may have said of it without more being counted: some
// metrics, or why it cannot be read.
const freeWords = 512

// large is what nearly all triggers take at most: where there is less, one that has
// no place may have been refused.
const large = 4 * SubscriptionBytes

// places bound how many triggers of a namespace are kept at all, and what they take
// with all that is said of them: of those whose types have no Service, or that wait
// for a share, there may be any number. Its lock is held while nothing else is taken.
type places struct {
	most   int // triggers of a namespace, 0 for any number
	memory int // bytes of all, 0 for any number

	mu    sync.Mutex
	of    map[string]taken
	bytes int
	// silent are those of which nothing is kept that is said, by namespace.
	silent map[string]map[*subscription]struct{}
	heard  time.Time // when some of them were last told of anew
}

// taken is what a namespace has.
type taken struct{ triggers, bytes int }

// mostFamilies is how many families' shares a namespace may have in all.
const mostFamilies = 2

func newPlaces(mostOfFamily, memory int) *places {
	return &places{most: mostFamilies * mostOfFamily, memory: memory, of: map[string]taken{}, silent: map[string]map[*subscription]struct{}{}}
}

// costOfParameter is what short texts take beyond their bytes.
const costOfParameter = 24

// bytesOf is what a trigger takes of the places, whatever is said of it.
func bytesOf(t Trigger) int {
	return SubscriptionBytes + kept.Size(t.Metadata) + costOfParameter*len(t.Metadata) + kept.Size(t.Inline) + len(t.Authentication) + len(t.TriggerName)
}

// take gives a namespace places for so much more, or says why there are none.
func (p *places) take(namespace string, triggers, bytes int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refused(namespace, triggers, bytes); err != nil {
		return err
	}
	p.add(namespace, triggers, bytes)
	return nil
}

// leave takes places back.
func (p *places) leave(namespace string, triggers, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(namespace, -triggers, -bytes)
}

// add counts what a namespace has; p.mu is held.
func (p *places) add(namespace string, triggers, bytes int) {
	t := p.of[namespace]
	t.triggers += triggers
	t.bytes += bytes
	p.bytes += bytes
	if p.of[namespace] = t; t == (taken{}) {
		delete(p.of, namespace)
	}
}

// refuses says why so much more of a namespace is not kept, nil where it is.
func (p *places) refuses(namespace string, triggers, bytes int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused(namespace, triggers, bytes)
}

// refused is refuses while p.mu is held.
func (p *places) refused(namespace string, triggers, bytes int) error {
	t := p.of[namespace]
	switch {
	case p.most > 0 && triggers > 0 && t.triggers+triggers > p.most:
		return coded(codes.ResourceExhausted, "namespace %s has %d triggers already, %d times what --max-namespace-triggers lets it have of one family: there is room once there are fewer",
			namespace, t.triggers, mostFamilies)
	case p.memory > 0 && bytes > 0 && kept.Left(p.memory, p.bytes, t.bytes) < bytes:
		return coded(codes.ResourceExhausted, "namespace %s has triggers that take twice as much memory as it leaves to others, with what is said of them: there is room once there are fewer, or the controller has more memory",
			namespace)
	default:
		return nil
	}
}

// falls takes note that nothing is kept of what is said of a trigger, and speaks
// that it is no longer so.
func (p *places) falls(sub *subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent[sub.namespace] == nil {
		p.silent[sub.namespace] = map[*subscription]struct{}{}
	}
	p.silent[sub.namespace][sub] = struct{}{}
}

func (p *places) speaks(sub *subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoken(sub)
}

// spoken is speaks while p.mu is held.
func (p *places) spoken(sub *subscription) {
	of := p.silent[sub.namespace]
	if delete(of, sub); len(of) == 0 {
		delete(p.silent, sub.namespace)
	}
}

// mostAnew is how many triggers of a namespace are told of anew every silenceCheck.
const mostAnew = 10

// anew are some of the triggers of which nothing was kept, while there may be room.
func (p *places) anew(now time.Time) (some []*subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.heard) < silenceCheck {
		return nil
	}
	p.heard = now
	for namespace, of := range p.silent {
		if p.refused(namespace, 0, large) != nil {
			continue
		}
		n := 0
		for sub := range of {
			if n++; n > mostAnew {
				break
			}
			some = append(some, sub)
			p.spoken(sub)
		}
	}
	return some
}

// hearAnew has triggers of which nothing was kept told of once more; f.mu is held.
func (f *Federation) hearAnew() {
	for _, sub := range f.places.anew(f.clock.Now()) {
		if f.subs[sub.id] != sub || sub.current == nil {
			continue // it is told of anyway, if it is there
		}
		sub.drop(&sub.next)
		sub.current.close()
		sub.current = f.assign(sub.current.inst, sub, false)
	}
}
