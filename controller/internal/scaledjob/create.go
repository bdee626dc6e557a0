package scaledjob

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

const (
	// atOnce is how many Jobs of one object are created or deleted at a time.
	atOnce = 10
	// createSlice is how long Jobs are created before the object is looked at
	// again: it may have been changed, paused or deleted.
	createSlice = 500 * time.Millisecond
	// mostOfSlice is more than the rate lets it create in that time.
	mostOfSlice = 2 * namespaceRate
	// nextSlice is the pause until then.
	nextSlice = 20 * time.Millisecond
)

// attempt is the creation of one Job.
type attempt struct {
	sequence int64
	name     string
	tried    bool
	err      error
	// found is the Job when there was one already, as far as it matters here: of
	// whoever made it, and as large as they like.
	found *found
}

// found is a Job that was there already.
type found struct {
	owned   bool // by the ScaledJob
	created time.Time
}

// ended reports whether it is certain that no more will come of the attempt. A
// request without an answer may still be carried out.
func (a attempt) ended() bool { return a.tried && a.err == nil }

// create starts up to n Jobs, as many as there is time for, several at a time;
// its turn to create each is waited for. After the first that is refused no more
// are tried. created counts those that did not exist before.
func (r *Reconciler) create(
	ctx context.Context, sj *v1alpha1.ScaledJob, l *ledger, n int, turn func(context.Context) error,
) (created int, err error) {
	var attempts []attempt
	for _, s := range l.candidates(sj, min(n, mostOfSlice)) {
		attempts = append(attempts, attempt{sequence: s, name: jobName(sj, s)})
	}
	slice, cancel := context.WithTimeout(ctx, createSlice)
	defer cancel()
	var mu sync.Mutex
	inParallel(len(attempts), func(i int) bool {
		if turn(slice) != nil {
			return false // its turn comes later
		}
		a := &attempts[i]
		a.tried = true
		a.found, a.err = r.createOne(ctx, sj, a.name)
		mu.Lock()
		defer mu.Unlock()
		if a.err != nil && err == nil {
			err = a.err
		}
		return err == nil
	})
	now := r.Now()
	for _, a := range attempts {
		switch {
		case !a.ended():
		case a.found == nil:
			created++
			l.jobs[a.name] = &entry{Job: scaling.Job{Created: now}, unseen: now}
		case a.found.owned:
			l.jobs[a.name] = &entry{Job: scaling.Job{Created: late(a.found.created)}, unseen: now}
		}
	}
	l.settle(attempts)
	return created, err
}

// createOne creates the Job with a name, or finds it.
func (r *Reconciler) createOne(ctx context.Context, sj *v1alpha1.ScaledJob, name string) (*found, error) {
	err := kept.Refusal(r.Client.Create(ctx, newJob(sj, name, r.Version)))
	if !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	job, err := r.metadataOf(ctx, types.NamespacedName{Namespace: sj.Namespace, Name: name})
	if err != nil {
		return nil, fmt.Errorf("job %s exists and cannot be read: %w", name, err)
	}
	return &found{owned: owned(job, sj.UID), created: job.CreationTimestamp.Time}, nil
}

// metadataOf reads of a Job what says whose it is. What it runs whoever made it
// decides: that may take many times its text.
func (r *Reconciler) metadataOf(ctx context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	job := &metav1.PartialObjectMetadata{}
	job.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	return job, r.Direct.Get(ctx, key, job)
}

// inParallel calls do for 0 to n-1, several at a time, until one says that
// it is enough; those under way are waited for.
func inParallel(n int, do func(i int) (goOn bool)) {
	var workers guard.Parts
	var mu sync.Mutex
	next := 0
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= n {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range min(n, atOnce) {
		workers.Start(func() {
			for i, ok := take(); ok; i, ok = take() {
				if !do(i) {
					mu.Lock()
					next = n
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
}
