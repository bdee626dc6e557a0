// Package status is the one writer of ScaledObject status and of the events
// that go with it. The reconciler and the activation loop report to it; it
// keeps what they said in memory and writes when something a user would notice
// changed.
package status

import (
	"context"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
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
}

// record is what is known of one object.
type record struct {
	mu         sync.Mutex
	uid        types.UID
	seen       time.Time
	reconciled *Reconciled
	observed   *Observed

	// basis is the resource version that the last write started from, and
	// written the object as the API server answered. Until the cache shows
	// something newer than basis, written is the truth.
	basis   string
	written *v1alpha1.ScaledObject
}

// Reconciled is what a reconcile found.
type Reconciled struct {
	// Err is why the object is not ready, nil when it is.
	Err error
	// Paused is true while scaling is stopped altogether.
	Paused bool
	// PausedReplicas is the count asked for while paused.
	PausedReplicas *int32
	// Target is the workload's kind, nil when it was not resolved.
	Target *v1alpha1.GroupVersionKindResource
	// Replicas is the target's replica count at the moment.
	Replicas *int32
	// HPAName is the HPA in charge, "" for none.
	HPAName string
	// ExternalMetricNames and ResourceMetricNames are the HPA's, in trigger
	// order; nil leaves those of an earlier reconcile.
	ExternalMetricNames, ResourceMetricNames []string
}

// Observed is the verdict of the activation loop.
type Observed struct {
	// Decision is what followed from the last readings.
	Decision scaling.Decision
	// HPAActive is the condition of that type, nil to leave it.
	HPAActive *v1alpha1.Condition
}

// Seen is when the generation of an object first came by.
func (w *Writer) Seen(so *v1alpha1.ScaledObject) time.Time {
	r := w.record(so)
	defer r.mu.Unlock()
	return r.seen
}

// Reconciled takes the outcome of a reconcile and writes what changed.
func (w *Writer) Reconciled(ctx context.Context, so *v1alpha1.ScaledObject, found Reconciled) error {
	r := w.record(so)
	defer r.mu.Unlock()
	r.reconciled = &found
	return w.flush(ctx, r, so, nil)
}

// Observed takes the verdict of the activation loop and writes what changed.
// Before the first reconcile there is nothing to write it to.
func (w *Writer) Observed(ctx context.Context, so *v1alpha1.ScaledObject, verdict Observed) error {
	r := w.record(so)
	defer r.mu.Unlock()
	r.observed = &verdict
	if r.reconciled == nil {
		return nil
	}
	return w.flush(ctx, r, so, nil)
}

// Activated records a rise from zero before it is made.
func (w *Writer) Activated(ctx context.Context, so *v1alpha1.ScaledObject, a *v1alpha1.Activation) error {
	r := w.record(so)
	defer r.mu.Unlock()
	return w.flush(ctx, r, so, func(s *v1alpha1.ScaledObjectStatus) { s.Activation = a })
}

// Deleted says goodbye to an object that was finalized.
func (w *Writer) Deleted(so *v1alpha1.ScaledObject) {
	w.event(so, warning, "ScaledObjectDeleted", "Deleted", "ScaledObject was deleted")
	w.Forget(client.ObjectKeyFromObject(so))
}

// Forget drops what is known of an object.
func (w *Writer) Forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.records, key)
}

// record returns the locked record of an object.
func (w *Writer) record(so *v1alpha1.ScaledObject) *record {
	key := client.ObjectKeyFromObject(so)
	w.mu.Lock()
	if w.records == nil {
		w.records = map[types.NamespacedName]*record{}
	}
	r := w.records[key]
	if r == nil || r.uid != so.UID {
		r = &record{uid: so.UID, seen: w.Now()}
		w.records[key] = r
	}
	w.mu.Unlock()
	r.mu.Lock()
	return r
}

// flush writes what differs from the last known status.
func (w *Writer) flush(ctx context.Context, r *record, cached *v1alpha1.ScaledObject, change func(*v1alpha1.ScaledObjectStatus)) error {
	base := cached
	if r.written != nil && cached.ResourceVersion == r.basis {
		base = r.written
	}
	next := base.DeepCopy()
	next.Status.Conditions.Initialize()
	if r.reconciled != nil {
		r.reconciled.apply(next)
	}
	if r.observed != nil {
		r.observed.apply(next)
	}
	if r.reconciled != nil {
		merge(next, r.reconciled, r.observed)
	}
	if change != nil {
		change(&next.Status)
	}
	if !noticeable(base, next) {
		return nil
	}
	written := next.DeepCopy()
	err := w.Client.Status().Patch(ctx, written, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		if apierrors.IsConflict(err) {
			// What was written is no longer the newest: trust the cache again.
			r.basis, r.written = "", nil
		}
		return client.IgnoreNotFound(err)
	}
	r.basis, r.written = cached.ResourceVersion, written
	w.announce(base, written)
	return nil
}

// noticeable reports whether a user would notice the change. The last active
// time alone is noticed when it moved by its write period.
func noticeable(base, next *v1alpha1.ScaledObject) bool {
	a, b := base.Status.DeepCopy(), next.Status.DeepCopy()
	if !lastActiveDue(base, next) {
		a.LastActiveTime, b.LastActiveTime = nil, nil
	}
	return !apiequality.Semantic.DeepEqual(a, b)
}

// longestWritePeriod bounds how old the stored last active time may be.
const longestWritePeriod = time.Minute

// WritePeriod is how far the stored last active time may lag behind while the
// object stays active.
func WritePeriod(so *v1alpha1.ScaledObject) time.Duration {
	return min(longestWritePeriod, so.CooldownPeriod()/2)
}

func lastActiveDue(base, next *v1alpha1.ScaledObject) bool {
	stored, now := base.Status.LastActiveTime, next.Status.LastActiveTime
	switch {
	case now == nil:
		return false
	case stored == nil:
		return true
	case base.Status.Conditions.IsTrue(v1alpha1.ConditionActive) != next.Status.Conditions.IsTrue(v1alpha1.ConditionActive):
		return true
	}
	return now.Sub(stored.Time) >= WritePeriod(next)
}
