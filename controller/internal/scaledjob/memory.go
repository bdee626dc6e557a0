package scaledjob

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// memory is what one reconcile of an object leaves for the next. Reconciles of
// one object never run at once.
type memory struct {
	uid types.UID
	// known is what is told of the object when it is gone.
	known *v1alpha1.ScaledJob
	// since is when this process first saw the object, or saw it go on after a
	// pause.
	since      time.Time
	paused     bool
	lastActive time.Time

	// stub is true while nothing else of the object was seen: there is no room
	// for it. Nothing that is known of triggers is by a stub.
	stub bool
	// generation is the one that triggers are of; seen is when it first came by.
	generation int64
	seen       time.Time
	triggers   []readings.Known

	ledger ledger
	// stored is the sequence number in the status, checked the one that was
	// settled at checkedAt.
	stored, checked int64
	checkedAt       time.Time
	// created is how many Jobs were started for the last reading that asked for
	// any.
	created int32
	// round is a creation that is under way, nil without one.
	round *round
	// refused is why Jobs could not be created, nil when they can; they are
	// tried again at retry.
	refused error
	tries   int
	retry   time.Time

	// history is what was decided. Others read it, with the lock of all.
	history account.History

	// warned are the warnings that were told.
	warned string

	// written is the object as the API server answered the last write, until
	// the cache shows it or something newer.
	written *v1alpha1.ScaledJob
	wroteAt time.Time
}

// round is the creation of the Jobs that one decision asked for. It may take
// many reconciles.
type round struct {
	decision      scaling.JobsDecision
	generation    int64
	created, left int
	// again is the pause until it may go on where it is not its turn, else 0.
	again time.Duration
}

// String says how far it is.
func (r round) String() string {
	return fmt.Sprintf("creating Jobs, %d of %d so far", r.created, r.created+r.left)
}

// memory returns what is remembered of an object. What another process left in
// the status is where this one goes on. An object is followed without the lock
// of all: a spec and a status may be large.
func (r *Reconciler) memory(sj *v1alpha1.ScaledJob) *memory {
	key, now := client.ObjectKeyFromObject(sj), r.Now()
	m := r.remembered(key)
	if m.isNot(sj) {
		m = seeded(sj, now)
		r.remember(key, m)
	}
	if m.paused && !sj.Paused() {
		m.since, m.generation = now, 0 // the triggers are asked afresh
	}
	m.paused = sj.Paused()
	for _, index := range m.follow(sj, now) {
		r.Measures.ForgetTrigger(key, index)
	}
	return m
}

// explain keeps how a decision came about.
func (r *Reconciler) explain(m *memory, in scaling.JobsInput, d scaling.JobsDecision) {
	room := account.Room{Budget: r.Told, Namespace: in.Object.Namespace, Name: "ScaledJob/" + in.Object.Name}
	history := m.history.With(scaling.ExplainJobs(in, d), room) // nobody else changes it
	r.mu.Lock()
	defer r.mu.Unlock()
	m.history = history
}

// Account returns what was decided about an object in this term. It is false
// while nothing was.
func (r *Reconciler) Account(key types.NamespacedName) (account.Account, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.objects[key]
	if m == nil {
		return account.Account{}, false
	}
	return m.history.Tell()
}

// isNot reports whether there is no memory of an object, or none of what can be
// seen of it by now.
func (m *memory) isNot(sj *v1alpha1.ScaledJob) bool {
	return m == nil || m.uid != sj.UID || m.stub && sj.Spec.Exceeds == ""
}

func (r *Reconciler) remembered(key types.NamespacedName) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.objects[key]
}

func (r *Reconciler) remember(key types.NamespacedName, m *memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objects == nil {
		r.objects = map[types.NamespacedName]*memory{}
	}
	r.objects[key] = m
}

// seeded is the memory of an object that this process sees for the first time.
func seeded(sj *v1alpha1.ScaledJob, now time.Time) *memory {
	m := &memory{uid: sj.UID, since: now, seen: now, stub: sj.Spec.Exceeds != ""}
	if stored := sj.Status.LastActiveTime; stored != nil {
		m.lastActive = stored.Time
	}
	if jobs := sj.Status.Jobs; jobs != nil {
		m.created, m.ledger.settled = jobs.Created, jobs.Sequence
		m.stored, m.checked = jobs.Sequence, jobs.Sequence
	}
	m.follow(sj, now)
	readings.Seed(m.triggers, sj.Status.Health, nil, now)
	return m
}

// follow takes note of a changed spec and returns the indexes of triggers that
// are not what they were. What is known of triggers outlives changes that leave
// them alone, and that there is no room for the spec for a while; creation that
// was refused may now work.
func (m *memory) follow(sj *v1alpha1.ScaledJob, now time.Time) (changed []int) {
	if m.generation == sj.Generation || sj.Spec.Exceeds != "" {
		return nil
	}
	if m.generation == 0 { // new here, or on after a pause
		clear(m.triggers)
	}
	m.triggers, changed = readings.Follow(m.triggers, sj.Spec.Triggers, sj.Generation, now)
	m.generation, m.seen = sj.Generation, now
	m.allowed()
	return changed
}

// Creation that was refused is tried again after a pause that doubles.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

func (m *memory) refuse(err error, now time.Time) {
	m.refused = err
	m.retry = now.Add(min(firstRetry<<min(m.tries, 10), lastRetry))
	m.tries++
}

func (m *memory) allowed() { m.refused, m.tries, m.retry = nil, 0, time.Time{} }

// forget drops all that is known of an object.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	delete(r.objects, key)
	r.mu.Unlock()
	r.notices.take(key)
	r.Measures.Forget(key)
}

// ForgetAll drops all that is known of every object: another process may have
// gone on where this one stopped.
func (r *Reconciler) ForgetAll() {
	r.mu.Lock()
	r.objects = nil
	r.mu.Unlock()
	r.notices.takeAll()
}

// checkpointEvery is how far the stored sequence number stays behind at least.
// Whoever takes over may see the status before it sees the Jobs.
const checkpointEvery = 30 * time.Second

// checkpoint is the sequence number to store.
func (m *memory) checkpoint(now time.Time) int64 {
	if now.Sub(m.checkedAt) >= checkpointEvery {
		m.stored, m.checked, m.checkedAt = m.checked, m.ledger.settled, now
	}
	return m.stored
}
