package activation

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// memory is what a decision leaves for the next one. Calls for one object
// never run at once.
type memory struct {
	uid        types.UID
	lastActive time.Time
	paused     bool

	// stub is true while nothing else of the object was seen: there is no room
	// for it. Nothing that is known of triggers is by a stub.
	stub bool
	// generation is the one that the triggers are of, 0 for none yet.
	generation int64
	triggers   []readings.Known
	formula    formula

	// wroteFrom is the target's resource version before our last write, and
	// wrote what was written. The cache may show the old one for a while.
	wroteFrom string
	wrote     int32
	// rise is the record of the last rise from rest, which the cache may not show yet,
	// nil for none.
	rise *v1alpha1.Activation
	// inherits is true until it was looked whether another process made a rise that
	// the status was not told of.
	inherits bool
	// announce is the event about that write, nil once it was emitted.
	announce *scaling.Event

	looked look
	nudged nudged
	record record
	// waking is the rise from zero whose first ready replica is waited for, nil for
	// none.
	waking *ColdStart
}

// formula is that of one generation, compiled, or why it cannot be.
type formula struct {
	generation int64
	compiled   *scaling.Formula
	err        error
}

// look is a target that nobody watches as it was when it was last subscribed.
type look struct {
	at      time.Time
	atRest  bool
	version string
}

// memory returns what is remembered of an object. What another process left in
// the status is where this one goes on.
func (l *Loop) memory(so *v1alpha1.ScaledObject) *memory {
	m := l.remembered(so)
	m.compile(so)
	return m
}

// remembered follows the object without the loop's lock: a spec and a status may
// be large, and nobody waits for one object but its own calls.
func (l *Loop) remembered(so *v1alpha1.ScaledObject) *memory {
	key := client.ObjectKeyFromObject(so)
	l.began()
	m := l.known(key)
	if m.isNot(so) {
		m = seeded(so, l.Now())
		l.know(key, m)
	}
	if m.paused && !so.Paused() {
		m.resume(l.Now())
	}
	for _, index := range m.follow(so, l.Now()) {
		l.Errors.ForgetTrigger(key, index)
		if l.Figures != nil {
			l.Figures.ForgetTrigger(key, index)
		}
	}
	return m
}

// isNot reports whether there is no memory of an object, or none of what can be
// seen of it by now.
func (m *memory) isNot(so *v1alpha1.ScaledObject) bool {
	return m == nil || m.uid != so.UID || m.stub && so.Spec.Exceeds == ""
}

func (l *Loop) known(key types.NamespacedName) *memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.objects[key]
}

func (l *Loop) know(key types.NamespacedName, m *memory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objects == nil {
		l.objects = map[types.NamespacedName]*memory{}
	}
	l.objects[key] = m
}

// forget drops all that is known of an object.
func (l *Loop) forget(key types.NamespacedName) {
	l.mu.Lock()
	delete(l.objects, key)
	l.mu.Unlock()
	l.Errors.Forget(key)
	if l.Figures != nil {
		l.Figures.Forget(key)
	}
	l.Status.Forget(key)
}

// Forget drops all that is known of every object: another process may know
// more, and has left it in the status.
func (l *Loop) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects, l.started = nil, time.Time{}
	l.effect.anew()
}

// follow takes note of a changed spec and returns the indexes of triggers that
// are not what they were. Failures and activations outlive changes that leave
// their trigger alone, and that there is no room for the spec for a while.
func (m *memory) follow(so *v1alpha1.ScaledObject, now time.Time) (changed []int) {
	if m.generation == so.Generation || so.Spec.Exceeds != "" {
		return nil
	}
	m.triggers, changed = readings.Follow(m.triggers, so.Spec.Triggers, so.Generation, now)
	m.generation = so.Generation
	return changed
}

// compile compiles the formula once per generation. It is a user's text: no
// lock is held meanwhile.
func (m *memory) compile(so *v1alpha1.ScaledObject) {
	if so.Modifiers() == nil || m.formula.generation == so.Generation && (m.formula.compiled != nil || m.formula.err != nil) {
		return
	}
	m.formula.generation = so.Generation
	m.formula.compiled, m.formula.err = scaling.FormulaOf(so)
}

// seeded is the memory of an object that this process sees for the first time:
// the failures as another one counted them, and the last activity as late as
// it may have been.
func seeded(so *v1alpha1.ScaledObject, now time.Time) *memory {
	m := &memory{uid: so.UID, inherits: true, stub: so.Spec.Exceeds != "", lastActive: lastActive(so, now), record: record{changes: slices.Clone(so.Status.Decisions)}}
	m.follow(so, now)
	since := map[string]time.Time{}
	for _, verdict := range so.Status.Fallback {
		since[verdict.Metric] = verdict.Since.Time
	}
	readings.Seed(m.triggers, so.Status.Health, since, now)
	return m
}

// lastActive is when an object may have been active last, going by its status.
func lastActive(so *v1alpha1.ScaledObject, now time.Time) time.Time {
	stored := so.Status.LastActiveTime
	if stored == nil {
		return time.Time{}
	}
	at := stored.Time
	if so.Status.Conditions.IsTrue(v1alpha1.ConditionActive) {
		at = at.Add(status.WritePeriod(so))
	}
	if at.After(now) {
		return now
	}
	return at
}

// pause takes note that nobody observes.
func (m *memory) pause() { m.paused = true }

// resume forgets what was observed before a pause: the triggers are asked
// afresh.
func (m *memory) resume(now time.Time) {
	m.paused = false
	for i := range m.triggers {
		m.triggers[i].Anew(now)
	}
}

// keep remembers what the next decision starts from.
func (m *memory) keep(d scaling.Decision) {
	m.lastActive = d.LastActive
	for i, v := range d.Verdicts {
		m.triggers[i].Keep(v)
	}
}

// carriedOut takes note that what the triggers asked for was done.
func (m *memory) carriedOut() {
	for i := range m.triggers {
		m.triggers[i].CarriedOut()
	}
}

// replicas is what the target's spec asks for, our own last write included.
func (m *memory) replicas(t target.Target) int32 {
	if t.ResourceVersion == m.wroteFrom {
		return m.wrote
	}
	return t.Replicas
}

// known is what families said about triggers.
type known struct {
	states func(federation.ID) (federation.State, bool)
	// waits reports whether a state is not to be decided by yet, nil for never.
	waits func(federation.State) bool
}

// input is all that a decision looks at, and the readings it is made of, while
// the target has so many replicas, or an error says why that is not known. ahead
// is true when the triggers known are those of a later generation than so.
func (m *memory) input(
	so *v1alpha1.ScaledObject, replicas *int32, replicasErr error, known known, now time.Time,
) (in scaling.Input, read []readings.Reading, ahead bool) {
	in = scaling.Input{
		Object: so, Now: now, Replicas: replicas, ReplicasErr: replicasErr,
		LastActive: m.lastActive, Formula: m.formula.compiled, FormulaErr: m.formula.err,
	}
	// While the target cannot be read it is subscribed as at rest.
	atRest := replicas == nil || scaling.AtRest(so, *replicas)
	named := readings.Named(so.Status.ExternalMetricNames, len(so.Spec.Triggers))
	for i, spec := range so.Spec.Triggers {
		if spec.Builtin() {
			continue
		}
		state, ok := known.states(triggerID(so, i))
		r, ahead := m.triggers[i].Read(so, readings.Question{
			Index: i, Spec: spec, Interval: scaling.SampleInterval(so, spec, atRest), Named: named[i],
			Waits: known.waits, StandIns: true,
		}, state, ok, now)
		if ahead {
			return in, nil, true
		}
		read = append(read, r)
	}
	in.Triggers = readings.Triggers(read)
	return in, read, false
}
