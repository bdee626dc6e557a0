package federation

import (
	"cmp"

	"google.golang.org/grpc/codes"
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
	waiting map[share]map[*subscription]bool
}

func newShares(most int) shares {
	return shares{most: most, taken: map[share]int{}, waiting: map[share]map[*subscription]bool{}}
}

// enter gives a subscription its part, or says why there is none for it.
func (s *shares) enter(of *service, sub *subscription) error {
	if s.most == 0 {
		return nil
	}
	wanted := share{sub.snapshot().Namespace, cmp.Or(of.view.family, of.triggerType)}
	if sub.share == wanted && !s.waiting[wanted][sub] {
		return nil
	}
	s.leave(sub)
	sub.share = wanted
	if s.taken[wanted] < s.most {
		s.taken[wanted]++
		return nil
	}
	if s.waiting[wanted] == nil {
		s.waiting[wanted] = map[*subscription]bool{}
	}
	s.waiting[wanted][sub] = true
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
	case s.waiting[had][sub]:
		if delete(s.waiting[had], sub); len(s.waiting[had]) == 0 {
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
	for sub := range f.shares.waiting[of] {
		if f.shares.taken[of] >= f.shares.most {
			return
		}
		f.place(sub.service, sub)
	}
}
