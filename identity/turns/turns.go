// Package turns decides whose turn it is, where there is room for a few at once and
// some come with very much: namespaces at a queue, addresses at a port.
package turns

import (
	"cmp"
	"container/heap"
	"container/list"
	"slices"
)

// Line lets so many in at once, so many of them of one caller. Of those who wait it
// is the turn of whoever has the fewest inside, of equals of who has waited longest
// for one. It is not safe for concurrent use, and takes the same time however many
// wait.
type Line[T any] struct {
	most, ofOne int
	few         int // see Leaving
	inside      int
	now         uint64 // counts changes
	callers     map[string]*caller[T]
	due         due[T]
	spare       *caller[T] // one that was forgotten, for the next
}

// NewLine lets so many in at once, so many of them of one caller.
func NewLine[T any](most, ofOne int) *Line[T] {
	return &Line[T]{most: most, ofOne: ofOne, few: most, callers: map[string]*caller[T]{}}
}

// Leaving has no caller take what they would leave nobody: who has that few or more
// inside may have no more than all others are left, and the last quarter of all is for
// those who have fewer. So a few callers never hold everything.
func (l *Line[T]) Leaving(few int) *Line[T] {
	l.few = max(few, 1)
	return l
}

// Turn is what one caller waits for.
type Turn[T any] struct {
	Value T
	Of    string
	Later bool
	queue *list.List
	at    *list.Element // nil once it came or was given up
}

// caller is somebody who has something inside or waiting.
type caller[T any] struct {
	inside         int
	rests          bool
	waiting, later list.List // of *Turn[T]
	since          uint64    // of its place in due
	place          int       // in due, -1 outside
}

func (c *caller[T]) waits() bool { return c.waiting.Len()+c.later.Len() > 0 }

// Wait has something of a caller wait. What is for later waits until nothing else
// of that caller does.
func (l *Line[T]) Wait(of string, value T, later bool) *Turn[T] {
	c := l.caller(of)
	t := &Turn[T]{Value: value, Of: of, Later: later, queue: &c.waiting}
	if later {
		t.queue = &c.later
	}
	t.at = t.queue.PushBack(t)
	if c.place < 0 {
		l.changed(of, c)
	}
	return t
}

// Next takes in what comes next. It is false where nobody waits that has room.
func (l *Line[T]) Next() (t *Turn[T], ok bool) {
	if !l.Due() {
		return nil, false
	}
	c := l.due[0]
	queue := &c.waiting
	if queue.Len() == 0 {
		queue = &c.later
	}
	t, _ = queue.Front().Value.(*Turn[T])
	queue.Remove(t.at)
	t.at = nil
	l.Enter(t.Of)
	return t, true
}

// Due reports whether there is something that Next takes in.
func (l *Line[T]) Due() bool { return len(l.due) > 0 && l.leaves(l.due[0].inside) }

// Enter counts something of a caller that did not wait.
func (l *Line[T]) Enter(of string) {
	c := l.caller(of)
	l.inside++
	c.inside++
	l.changed(of, c)
}

// Rest has nothing come of a caller that waits until Resume is called for it.
func (l *Line[T]) Rest(of string) { l.rest(of, true) }

// Resume ends what Rest began. It is nothing for who does not rest.
func (l *Line[T]) Resume(of string) { l.rest(of, false) }

func (l *Line[T]) rest(of string, rests bool) {
	if c := l.callers[of]; c != nil && c.rests != rests {
		c.rests = rests
		l.changed(of, c)
	}
}

// Leave ends what Next or Enter began.
func (l *Line[T]) Leave(of string) {
	c := l.callers[of]
	l.inside--
	c.inside--
	l.changed(of, c)
}

// GiveUp takes a turn back and reports whether it had not come.
func (l *Line[T]) GiveUp(t *Turn[T]) bool {
	if t.at == nil {
		return false
	}
	t.queue.Remove(t.at)
	t.at = nil
	if c := l.callers[t.Of]; !c.waits() {
		l.changed(t.Of, c)
	}
	return true
}

// Room reports whether there is room for one more of a caller.
func (l *Line[T]) Room(of string) bool {
	inside := l.Has(of)
	return inside < l.ofOne && l.leaves(inside)
}

// leaves reports whether somebody with so many inside may have one more. Whoever has
// fewer then may, too.
func (l *Line[T]) leaves(inside int) bool {
	if inside < l.few {
		return l.inside < l.most
	}
	return l.inside < l.most-l.most/4 && inside < l.most-l.inside
}

// Has is how many places a caller has.
func (l *Line[T]) Has(of string) int {
	if c := l.callers[of]; c != nil {
		return c.inside
	}
	return 0
}

// Fewest is the one of several callers that has the fewest inside, of equals the
// fewest that wait. What they come for together is that one's: as a caller of its own,
// who has some names would be as many callers as there are sets of them, and whoever
// comes with somebody who has many waits behind none of those. There is at least one.
func (l *Line[T]) Fewest(of []string) string {
	if len(of) == 1 {
		return of[0]
	}
	return slices.MinFunc(of, func(a, b string) int {
		return cmp.Or(cmp.Compare(l.Has(a), l.Has(b)), cmp.Compare(l.waiting(a), l.waiting(b)))
	})
}

// waiting is how many of a caller wait.
func (l *Line[T]) waiting(of string) int {
	if c := l.callers[of]; c != nil {
		return c.waiting.Len() + c.later.Len()
	}
	return 0
}

// Inside is how many there are inside.
func (l *Line[T]) Inside() int { return l.inside }

// Idle reports whether there is nobody, inside or waiting.
func (l *Line[T]) Idle() bool { return len(l.callers) == 0 }

// Resize changes how many there may be.
func (l *Line[T]) Resize(most, ofOne int) {
	l.most, l.ofOne = most, ofOne
	for of, c := range l.callers {
		l.changed(of, c)
	}
}

func (l *Line[T]) caller(of string) *caller[T] {
	c := l.callers[of]
	if c == nil {
		if c, l.spare = l.spare, nil; c == nil {
			c = &caller[T]{place: -1}
		}
		l.callers[of] = c
	}
	return c
}

// changed puts a caller where it belongs, behind its equals.
func (l *Line[T]) changed(of string, c *caller[T]) {
	l.now++
	c.since = l.now
	switch wants := c.waits() && !c.rests && c.inside < l.ofOne; {
	case wants && c.place >= 0:
		heap.Fix(&l.due, c.place)
	case wants:
		heap.Push(&l.due, c)
	case c.place >= 0:
		heap.Remove(&l.due, c.place)
	}
	if c.inside == 0 && !c.waits() {
		delete(l.callers, of)
		c.rests = false
		l.spare = c
	}
}

// due are the callers that wait and have room, a heap whose first is next.
type due[T any] []*caller[T]

func (d due[T]) Len() int { return len(d) }

func (d due[T]) Less(i, j int) bool {
	if d[i].inside != d[j].inside {
		return d[i].inside < d[j].inside
	}
	return d[i].since < d[j].since
}

func (d due[T]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

func (d *due[T]) Push(x any) {
	c, _ := x.(*caller[T])
	c.place = len(*d)
	*d = append(*d, c)
}

func (d *due[T]) Pop() any {
	last := len(*d) - 1
	c := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	c.place = -1
	return c
}
