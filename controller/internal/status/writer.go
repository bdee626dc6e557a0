// Package status is the one writer of ScaledObject status and of the events
// that go with it. The reconciler and the activation loop report to it; it
// keeps what they said in memory and writes when something a user would notice
// changed.
package status

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Writer keeps one record per ScaledObject. Its methods may be called at once
// from many goroutines; calls for one object wait for each other.
type Writer struct {
	Client client.Client
	Events events.EventRecorder
	Now    func() time.Time

	mu      sync.Mutex
	records map[types.NamespacedName]*record
	// starting are objects that no reconcile has reported of, by namespace.
	starting map[string]map[string]struct{}
}

// record is what is known of one object.
type record struct {
	mu         sync.Mutex
	uid        types.UID
	generation int64
	paused     bool
	seen       time.Time // when the generation first came by, or went on after a pause
	reconciled *Reconciled
	observed   *Observed
	unscaled   error  // why the last write of replicas failed
	rise       *rise  // nil while the one that the status has stands
	target     string // the name of the workload
	retargeted bool
	// watched is what the status says of the triggers that are watched.
	watched  v1alpha1.ScaledObjectStatus
	starting bool // that its triggers are watched is yet to be announced
	// warned is of the warnings that were announced.
	warned [sha256.Size]byte

	// written is the object as the API server answered the last write, until
	// the cache shows it or something newer.
	written *v1alpha1.ScaledObject
	wroteAt time.Time // the last write for this generation
	settled *rest     // nil while something is yet to be written
}

// FirstState is how long the first state of a generation may take to be
// complete: that long a missing answer is no news, and what is known is not
// written in pieces.
const FirstState = 2 * time.Second

// Reconciled is what a reconcile found.
type Reconciled struct {
	// Err is why the object is not ready, nil when it is.
	Err error
	// Warnings are what is odd about the object and keeps it from nothing, such
	// as keys that a trigger does not know; each names what it is about.
	Warnings []string
	// Notes are told like Warnings, by an event alone: they are nothing to be
	// seen to.
	Notes []string
	// Paused is true while scaling is stopped altogether.
	Paused bool
	// Invalid is true while the spec is such that nobody decides by it.
	Invalid bool
	// PausedReplicas is the count asked for while paused.
	PausedReplicas *int32
	// Target is the workload's kind, nil when it was not resolved.
	Target *v1alpha1.GroupVersionKindResource
	// Replicas is the target's replica count at the moment.
	Replicas *int32
	// HPA is the name of the HPA in charge, "" for none; nil leaves the earlier
	// one.
	HPA *string
	// ExternalMetricNames and ResourceMetricNames are the HPA's, in trigger
	// order; nil for both leaves those of an earlier reconcile.
	ExternalMetricNames, ResourceMetricNames []string
}

// Observed is the verdict of the activation loop.
type Observed struct {
	// Decision is what followed from the last readings.
	Decision scaling.Decision
	// HPAActive is the condition of that type, nil to leave it.
	HPAActive *v1alpha1.Condition
	// Changes are the last changes of the replicas.
	Changes []v1alpha1.Decision
	// Unscaled is why the replicas that were decided could not be written.
	Unscaled error
}

// Seen is when the generation of an object first came by, or when it went on
// after a pause.
func (w *Writer) Seen(so *v1alpha1.ScaledObject) time.Time {
	r := w.record(so)
	defer r.mu.Unlock()
	return r.seen
}

// Retargeted takes note that the object scales another workload than before:
// the next reconcile that finds it tells its original replicas.
func (w *Writer) Retargeted(so *v1alpha1.ScaledObject) {
	r := w.record(so)
	defer r.mu.Unlock()
	r.retargeted = true
}

// Reconciled takes the outcome of a reconcile and writes what changed. held is
// true when it waits for the first reading, for FirstState at most: call again
// then.
func (w *Writer) Reconciled(ctx context.Context, so *v1alpha1.ScaledObject, found Reconciled) (held bool, err error) {
	r := w.record(so)
	defer r.mu.Unlock()
	urgent := r.reconciled == nil || text(r.reconciled.Err) != text(found.Err) ||
		!slices.Equal(r.reconciled.Warnings, found.Warnings)
	if found.Paused || found.Invalid {
		// Nobody observes any more, and what was seen is no longer so.
		r.observed = nil
	}
	r.reconciled = &found
	w.started(client.ObjectKeyFromObject(so))
	if r.incomplete(w.Now()) {
		return true, nil
	}
	if err := w.flush(ctx, r, so, urgent); err != nil {
		return false, err
	}
	w.announceWarnings(r, so)
	return false, nil
}

// Observed takes the verdict of the activation loop and writes what changed.
// Before the first reconcile there is nothing to write it to. Call again after
// the time returned, if it is not 0: something was put off.
func (w *Writer) Observed(ctx context.Context, so *v1alpha1.ScaledObject, verdict Observed) (again time.Duration, err error) {
	r := w.record(so)
	defer r.mu.Unlock()
	if r.reconciled != nil && r.reconciled.Paused {
		return 0, nil
	}
	r.observed, r.unscaled = &verdict, verdict.Unscaled
	if r.reconciled == nil || r.incomplete(w.Now()) {
		if r.rise.missing(Newest(so, &r.written)) { // it waits for nothing
			return 0, w.flush(ctx, r, so, false)
		}
		return 0, nil
	}
	w.announceStart(r, so)
	if err := w.flush(ctx, r, so, false); err != nil {
		return 0, err
	}
	w.announceWarnings(r, so)
	return w.mirrorIn(r, so), nil
}

// Paused takes why the replicas that were asked for while paused could not be
// written, nil when they were or none are asked for, and writes what changed.
func (w *Writer) Paused(ctx context.Context, so *v1alpha1.ScaledObject, unscaled error) error {
	r := w.record(so)
	defer r.mu.Unlock()
	r.observed, r.unscaled = nil, unscaled
	if r.reconciled == nil {
		return nil // it goes along with what the reconcile finds
	}
	return w.flush(ctx, r, so, false)
}

// Defective takes that a mistake of ours ended a decision about an object, and
// writes it. The next decision takes it back.
func (w *Writer) Defective(ctx context.Context, so *v1alpha1.ScaledObject, defect error) error {
	r := w.record(so)
	defer r.mu.Unlock()
	r.unscaled = defect
	if r.reconciled == nil {
		return nil // it goes along with what the reconcile finds
	}
	return w.flush(ctx, r, so, true)
}

// mirrorIn is how long the first mirror of the HPA's state is put off, 0 when it
// is not. It is the HPA's own word and can be read there: while thousands of
// objects start, it takes no turn from one that is not ready yet, and most often
// goes along with another change.
func (w *Writer) mirrorIn(r *record, so *v1alpha1.ScaledObject) time.Duration {
	base := Newest(so, &r.written)
	if _, mirrored := base.Status.Conditions.Get(v1alpha1.ConditionHPAActive); mirrored || r.observed.HPAActive == nil {
		return 0
	}
	if due := r.wroteAt.Add(base.PollingInterval()).Sub(w.Now()); due > 0 {
		return due
	}
	return base.PollingInterval()
}

// incomplete reports whether all is well but the first reading, and there is
// time to wait for it.
func (r *record) incomplete(now time.Time) bool {
	if now.Sub(r.seen) >= FirstState || r.reconciled.Err != nil || r.unscaled != nil || r.reconciled.Paused {
		return false
	}
	return r.observed == nil || r.observed.Decision.Active == nil && badness(r.observed.Decision.Ready) == 0
}

// Rose takes the record of a rise from zero, nil to end the one there is. It is
// written with what is observed next.
func (w *Writer) Rose(so *v1alpha1.ScaledObject, a *v1alpha1.Activation) {
	r := w.record(so)
	defer r.mu.Unlock()
	now := &rise{}
	if a != nil {
		// As the API server keeps it, so that what was written compares equal.
		now.record = a.DeepCopy()
		now.record.Time = metav1.NewMicroTime(a.Time.Truncate(time.Microsecond))
	}
	switch {
	case r.rise == nil && !now.missing(Newest(so, &r.written)):
		// The cache may not show yet what another process has written: only what is
		// known to be otherwise is changed.
	case r.rise == nil || !apiequality.Semantic.DeepEqual(r.rise.record, now.record):
		r.rise, r.settled = now, nil
	}
}

// rise is what the status is to have of a rise from zero: the record of it, nil
// for none.
type rise struct{ record *v1alpha1.Activation }

func (r *rise) missing(so *v1alpha1.ScaledObject) bool {
	return r != nil && !apiequality.Semantic.DeepEqual(r.record, so.Status.Activation)
}

// Deleted says goodbye to an object that was finalized.
func (w *Writer) Deleted(so *v1alpha1.ScaledObject) {
	w.announceStop(so)
	w.event(so, warning, "ScaledObjectDeleted", "Deleted", "ScaledObject was deleted")
	w.Forget(client.ObjectKeyFromObject(so))
}

// Gone says goodbye to an object that is there no more, once, if anything was
// known of it.
func (w *Writer) Gone(key types.NamespacedName) {
	w.mu.Lock()
	r := w.records[key]
	w.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	so, known := &v1alpha1.ScaledObject{Status: r.watched}, r.reconciled != nil
	so.Namespace, so.Name, so.UID = key.Namespace, key.Name, r.uid
	r.mu.Unlock()
	if known {
		w.Deleted(so)
	}
	w.Forget(key)
}

// Forget drops what is known of an object.
func (w *Writer) Forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.records, key)
	w.noteStarted(key)
}

// noteStarted takes note that an object is not starting; w.mu is held.
func (w *Writer) noteStarted(key types.NamespacedName) {
	of := w.starting[key.Namespace]
	if delete(of, key.Name); len(of) == 0 {
		delete(w.starting, key.Namespace)
	}
}

// started takes note that a reconcile reported of an object.
func (w *Writer) started(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteStarted(key)
}

// busy reports whether a namespace has objects that no reconcile has reported of.
// What another one has puts off nothing here: some always has.
func (w *Writer) busy(namespace string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.starting[namespace]) > 0
}

// ForgetAll drops what is known of every object.
func (w *Writer) ForgetAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records, w.starting = nil, nil
}

// record returns the locked record of an object.
func (w *Writer) record(so *v1alpha1.ScaledObject) *record {
	key := client.ObjectKeyFromObject(so)
	w.mu.Lock()
	if w.records == nil {
		w.records, w.starting = map[types.NamespacedName]*record{}, map[string]map[string]struct{}{}
	}
	r := w.records[key]
	if r == nil || r.uid != so.UID {
		r = &record{uid: so.UID}
		w.records[key] = r
		if w.starting[key.Namespace] == nil {
			w.starting[key.Namespace] = map[string]struct{}{}
		}
		w.starting[key.Namespace][key.Name] = struct{}{}
	}
	w.mu.Unlock()
	r.mu.Lock()
	if name := so.Spec.ScaleTargetRef.Name; so.Generation > r.generation {
		r.retargeted = r.retargeted || r.generation > 0 && r.target != name
		r.target = name
	}
	if so.Generation > r.generation || r.paused && !so.Paused() {
		r.generation, r.seen, r.wroteAt = so.Generation, w.Now(), time.Time{}
	}
	r.paused = so.Paused()
	return r
}

// flush writes what differs from the last known status. An urgent change is
// written at once even when only words changed.
func (w *Writer) flush(ctx context.Context, r *record, cached *v1alpha1.ScaledObject, urgent bool) error {
	base := Newest(cached, &r.written)
	r.watches(base)
	if !urgent && r.still(base) {
		return nil
	}
	next := base.DeepCopy()
	next.Status.Conditions.Initialize()
	if r.reconciled != nil {
		r.reconciled.apply(next, r.retargeted)
	}
	if r.observed != nil {
		r.observed.apply(next)
	}
	if r.reconciled != nil {
		r.merge(next)
	}
	if r.rise != nil {
		next.Status.Activation = r.rise.record.DeepCopy()
	}
	r.settle(base, next)
	words := urgent || w.Now().Sub(r.wroteAt) >= next.PollingInterval()
	if r.settled != nil || !noticeable(base, next, words, words && !w.busy(cached.Namespace)) {
		return nil
	}
	// It bears the resource version of base. A patch would cost the API server
	// about half as much again.
	written := next
	written.SetSelfLink("") // a mark of the cache is nobody else's
	if err := w.Client.Status().Update(ctx, written); err != nil {
		// What was written is no longer the newest: trust the cache again.
		r.written = nil
		w.announceRefused(cached, err)
		return client.IgnoreNotFound(err)
	}
	// The answer has all of an object of which the cache may hold little.
	written.Labels, written.Annotations, written.Spec = base.Labels, base.Annotations, base.Spec
	written.ManagedFields = nil
	r.written, r.wroteAt = written, w.Now()
	r.watches(written)
	if r.reconciled != nil && r.reconciled.Target != nil {
		r.retargeted = false
	}
	w.announce(r, base, written)
	return nil
}

func (r *record) watches(so *v1alpha1.ScaledObject) {
	r.watched.HpaName, r.watched.TriggersTypes = so.Status.HpaName, so.Status.TriggersTypes
}

// rest is a moment at which the status said all that was known.
type rest struct {
	resourceVersion string
	reconciled      *Reconciled
	observed        *Observed
	unscaled        string
}

// settle takes note of whether next, made of base and all that is known, is what
// base says.
func (r *record) settle(base, next *v1alpha1.ScaledObject) {
	r.settled = nil
	if apiequality.Semantic.DeepEqual(base.Status, next.Status) {
		r.settled = &rest{base.ResourceVersion, r.reconciled, r.observed, text(r.unscaled)}
	}
}

// still reports whether all is as it was when it was settled. Most verdicts by
// far repeat the one before, which is kept in their place.
func (r *record) still(base *v1alpha1.ScaledObject) bool {
	s := r.settled
	if s == nil || s.resourceVersion != base.ResourceVersion || s.reconciled != r.reconciled ||
		s.unscaled != text(r.unscaled) || !s.observed.same(r.observed) {
		return false
	}
	r.observed = s.observed
	return true
}

// Newest is the later of what the cache shows and what was written here. What
// was written is forgotten once the cache shows it.
func Newest[T interface {
	client.Object
	comparable
}](cached T, written *T) T {
	var none T
	if *written == none {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), (*written).GetResourceVersion())
	if err != nil || order >= 0 {
		*written = none
		return cached
	}
	return *written
}

// longestWritePeriod bounds how old the stored last active time may be. The
// time is stored in whole seconds, so nothing shorter makes it more exact.
const (
	longestWritePeriod  = time.Minute
	shortestWritePeriod = time.Second
)

// WritePeriod is how far the stored last active time may lag behind while the
// object stays active.
func WritePeriod(so *v1alpha1.ScaledObject) time.Duration {
	return max(shortestWritePeriod, min(longestWritePeriod, so.CooldownPeriod()/2))
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
