package main

import "time"

// window is the recurring time between two schedules.
type window struct{ start, end schedule }

// open reports whether now is inside the window: whether the next boundary to
// come is an end, or both come together. At the instant of a start it is open,
// at the instant of an end closed.
//
// This needs no duration and so holds for windows over midnight, over days and
// for several a day. It is the rule of KEDA.
func (w window) open(now time.Time) bool {
	start, end := w.start.next(now), w.end.next(now)
	if end.at.Equal(start.at) && w.start.zone == w.end.zone {
		// Both fall into an hour that the clock skips: the order in which
		// they are written tells a window that is lost from one that is left.
		return !end.wall.After(start.wall)
	}
	return !end.at.After(start.at)
}

// next returns the first boundary after now.
func (w window) next(now time.Time) time.Time {
	start, end := w.start.next(now).at, w.end.next(now).at
	if end.Before(start) {
		return end
	}
	return start
}

// last returns the last boundary after since and not after now, zero when there
// is none.
func (w window) last(since, now time.Time) (last time.Time) {
	for at := w.next(since); !at.After(now); at = w.next(at) {
		last = at
	}
	return last
}
