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
	waiting map[share]int
}

// enter gives a subscription its part, or says why there is none for it.
func (s *shares) enter(of *service, sub *subscription) error {
	if s.most == 0 {
		return nil
	}
	wanted := share{sub.snapshot().Namespace, cmp.Or(of.view.family, of.triggerType)}
	if sub.share != wanted {
		s.leave(sub)
		sub.share, sub.waits = wanted, true
		s.waiting[wanted]++
	}
	if sub.waits && s.taken[wanted] < s.most {
		s.taken[wanted]++
		s.less(s.waiting, wanted)
		sub.waits = false
	}
	if sub.waits {
		return coded(codes.ResourceExhausted, "namespace %s has %d triggers of family %s already, as many as --max-namespace-triggers lets it have",
			wanted.namespace, s.most, wanted.family)
	}
	return nil
}

// leave takes a subscription's part back, and returns the share that has room
// by that.
func (s *shares) leave(sub *subscription) share {
	had := sub.share
	switch {
	case had == share{}:
	case sub.waits:
		s.less(s.waiting, had)
	default:
		s.less(s.taken, had)
	}
	sub.share, sub.waits = share{}, false
	return had
}

func (s *shares) less(counts map[share]int, of share) {
	if counts[of]--; counts[of] <= 0 {
		delete(counts, of)
	}
}

// makeRoom lets in one of those who wait for a share.
func (f *Federation) makeRoom(of share) {
	if f.shares.waiting[of] == 0 {
		return
	}
	for _, sub := range f.subs {
		if sub.waits && sub.share == of {
			f.place(sub.service, sub)
			return
		}
	}
}
