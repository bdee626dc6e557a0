package computing

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/identity/turns"
)

// longest is how long a turn may last until it is overdue. Work is called far more
// often than that, unless something takes longer than whoever wrote it thought.
const longest = 50 * slice

// gate has turns at so many places. A turn that is overdue loses its place as soon as
// others wait for one, so that they do not wait for what nobody can stop; of its
// namespace nothing more is computed until it has ended.
type gate struct {
	mu      sync.Mutex
	line    *turns.Line[*place]
	inside  []*place // in the order in which they began
	waiting int
	overdue map[string]*overdue // by namespace
	alarm   *time.Timer         // that looks for turns that are overdue, while somebody waits
}

// overdue are those of a namespace.
type overdue struct {
	turns int
	ended chan struct{}
}

// place is one at the gate.
type place struct {
	namespace string
	until     time.Time     // when it is overdue
	overdue   bool          // others have it
	granted   chan struct{} // of one that waits
	refused   bool          // its namespace has become overdue meanwhile
}

func newGate(most, ofOne int) *gate {
	return &gate{line: turns.NewLine[*place](most, ofOne), overdue: map[string]*overdue{}}
}

// enter waits for a place, for whoever has the fewest of some namespaces. It is false
// when there is none in time.
func (g *gate) enter(ctx context.Context, p *place, namespaces []string) bool {
	for {
		turn, ended := g.come(p, namespaces)
		switch {
		case ended != nil:
			select {
			case <-ended:
			case <-ctx.Done():
				return false
			}
		case turn == nil:
			return true
		default:
			select {
			case <-p.granted:
			case <-ctx.Done():
			}
			if g.came(turn) {
				return true
			}
			if ctx.Err() != nil {
				return false
			}
		}
	}
}

// come takes a place, or has it waited for. Where turns of all the namespaces are
// overdue it returns what says that those of one have ended.
func (g *gate) come(p *place, namespaces []string) (turn *turns.Turn[*place], ended <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.overdue) > 0 {
		able := slices.DeleteFunc(slices.Clone(namespaces), func(n string) bool { return g.overdue[n] != nil })
		if len(able) == 0 {
			return nil, g.overdue[namespaces[0]].ended
		}
		namespaces = able
	}
	*p = place{namespace: g.line.Fewest(namespaces)}
	if g.line.Room(p.namespace) {
		g.line.Enter(p.namespace)
		g.begin(p)
		return nil, nil
	}
	p.granted = make(chan struct{})
	g.waiting++
	g.watch()
	return g.line.Wait(p.namespace, p, false), nil
}

// came takes a turn back that was waited for, unless it came.
func (g *gate) came(turn *turns.Turn[*place]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.line.GiveUp(turn) {
		g.waits(-1)
		return false
	}
	return !turn.Value.refused
}

// begin notes a place that was taken. g.mu is held, as below.
func (g *gate) begin(p *place) {
	p.until = time.Now().Add(longest)
	g.inside = append(g.inside, p)
}

// admit lets in who is next.
func (g *gate) admit() {
	for turn, ok := g.line.Next(); ok; turn, ok = g.line.Next() {
		g.waits(-1)
		if p := turn.Value; g.overdue[turn.Of] != nil {
			p.refused = true
			g.line.Leave(turn.Of)
		} else {
			g.begin(p)
		}
		close(turn.Value.granted)
	}
}

func (g *gate) waits(change int) {
	if g.waiting += change; g.waiting == 0 && g.alarm != nil {
		g.alarm.Stop()
		g.alarm = nil
	}
}

// watch looks again when the oldest turn is overdue, as long as somebody waits.
func (g *gate) watch() {
	if g.alarm == nil && g.waiting > 0 && len(g.inside) > 0 {
		g.alarm = time.AfterFunc(time.Until(g.inside[0].until), g.expire)
	}
}

// expire gives the places to others of those that are overdue.
func (g *gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for len(g.inside) > 0 && !now.Before(g.inside[0].until) {
		p := g.inside[0]
		g.inside = slices.Delete(g.inside, 0, 1)
		p.overdue = true
		o := g.overdue[p.namespace]
		if o == nil {
			o = &overdue{ended: make(chan struct{})}
			g.overdue[p.namespace] = o
		}
		o.turns++
		g.line.Leave(p.namespace)
	}
	g.admit()
	g.alarm = nil
	g.watch()
}

func (g *gate) leave(p *place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !p.overdue {
		at := slices.Index(g.inside, p)
		g.inside = slices.Delete(g.inside, at, at+1)
		g.line.Leave(p.namespace)
		g.admit()
		return
	}
	o := g.overdue[p.namespace]
	if o.turns--; o.turns == 0 {
		delete(g.overdue, p.namespace)
		close(o.ended)
	}
}
