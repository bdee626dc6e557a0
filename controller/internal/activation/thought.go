package activation

import (
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Thought decides about one ScaledObject as a Loop does, while somebody else
// scales it. It has nothing to write with. Calls never run at once.
type Thought struct{ m *memory }

// Decide is what a Loop would decide about a target with so many replicas, and
// how that comes about; err says why replicas is nil. It is false when the
// triggers known are those of a later generation than so.
func (t *Thought) Decide(
	so *v1alpha1.ScaledObject, replicas *int32, err error, states func(federation.ID) (federation.State, bool), now time.Time,
) (d scaling.Decision, e scaling.Explanation, ok bool) {
	if t.m.isNot(so) {
		t.m = seeded(so, now)
	}
	m := t.m
	if m.paused && !so.Paused() {
		m.resume(now)
	}
	m.follow(so, now)
	m.compile(so)
	// Who scales goes on to store when there was work.
	if stored := lastActive(so, now); stored.After(m.lastActive) {
		m.lastActive = stored
	}
	in := scaling.Input{Object: so, Now: now, Replicas: replicas, ReplicasErr: err}
	if so.Paused() {
		m.pause()
	} else {
		var ahead bool
		if in, _, ahead = m.input(so, replicas, err, known{states: states}, now); ahead {
			return d, e, false
		}
	}
	d = scaling.Decide(in)
	if !so.Paused() {
		m.keep(d)
		m.carriedOut()
	}
	return d, scaling.Explain(in, d), true
}
