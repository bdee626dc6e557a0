package federation

import (
	"cmp"

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

// SubscriptionBytes is what a process keeps of a trigger, beside its object and its
// variables.
const SubscriptionBytes = 1400

// places bound how many triggers of a namespace are kept at all: of those whose
// types have no Service, or that wait for a share, there may be any number.
// Everything is guarded by the Federation.
type places struct {
	ofOne, inAll int // 0 is any number
	taken        map[string]int
	all          int
}

// mostFamilies is how many families' shares a namespace may have in all.
const mostFamilies = 2

func newPlaces(mostOfFamily, inAll int) places {
	return places{ofOne: mostFamilies * mostOfFamily, inAll: inAll, taken: map[string]int{}}
}

// placesOf is how many places a trigger takes: one, and more where its parameters
// are large, of which the process has copies.
func placesOf(t Trigger) int {
	return 1 + (kept.Size(t.Metadata)+kept.Size(t.Inline)+len(t.Authentication)+len(t.TriggerName))/SubscriptionBytes
}

// large is how many places nearly all triggers take at most: where there are fewer,
// one that has none may have been refused.
func (p *places) large() int { return min(10, max(1, p.ofOne/10)) }

// take gives a trigger of a namespace its places, or says why there are none.
func (p *places) take(namespace string, n int) error {
	if err := p.refuses(namespace, n); err != nil {
		return err
	}
	p.taken[namespace] += n
	p.all += n
	return nil
}

// leave takes places back.
func (p *places) leave(namespace string, n int) {
	p.all -= n
	if p.taken[namespace] -= n; p.taken[namespace] == 0 {
		delete(p.taken, namespace)
	}
}

// refuses says why no trigger of so many places of a namespace is kept, nil where
// one is.
func (p *places) refuses(namespace string, n int) error {
	taken := p.taken[namespace]
	switch {
	case n <= 0: // it has not grown
		return nil
	case p.ofOne > 0 && taken+n > p.ofOne:
		return coded(codes.ResourceExhausted, "namespace %s has %d triggers already, %d times what --max-namespace-triggers lets it have of one family: there is room once there are fewer",
			namespace, taken, mostFamilies)
	case p.inAll > 0 && kept.Left(p.inAll, p.all, taken) < n:
		return coded(codes.ResourceExhausted, "namespace %s has twice as many triggers as it leaves memory for to others: there is room once there are fewer, or the controller has more memory",
			namespace)
	default:
		return nil
	}
}
