package scaledjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
)

// cleanBatch is how many Jobs are deleted before anything else of the object is
// looked at again, and any other object.
const cleanBatch = 1000

// rollout deletes the Jobs of earlier generations where the object says so.
// What they had to do is still in the queue: they stand for it no longer.
// more is true when there are others.
func (r *Reconciler) rollout(ctx context.Context, sj *v1alpha1.ScaledJob, l *ledger) (more bool, err error) {
	if !sj.ReplacesJobs() {
		return false, nil
	}
	current := strconv.FormatInt(sj.Generation, 10)
	var old []*entry
	for _, e := range l.jobs {
		job := e.object
		if job != nil && !e.deleted && !job.deleting && job.owner == sj.UID && job.generation != current {
			old = append(old, e)
		}
	}
	if len(old) == 0 {
		return false, nil
	}
	if len(old) > cleanBatch {
		old, more = old[:cleanBatch], true
	}
	status.Emit(r.Events, sj, normal, "ScaledJobRolloutCleanupStarted", "StartCleanup",
		fmt.Sprintf("deleting %d Jobs of earlier generations", len(old)))
	err = r.delete(ctx, old, sj.RolloutPropagation())
	for _, e := range old {
		e.void = true
	}
	if err != nil {
		status.Emit(r.Events, sj, warning, "ScaledJobRolloutCleanupFailed", "FailCleanup", status.Sentence(err))
		return false, fmt.Errorf("rollout: %w", err)
	}
	status.Emit(r.Events, sj, normal, "ScaledJobRolloutCleanupCompleted", "CompleteCleanup",
		fmt.Sprintf("deleted %d Jobs of earlier generations", len(old)))
	return more, nil
}

// clean deletes the oldest finished Jobs above the limits, of those that ended
// before a moment: a Job stays as long as a reading counts that may include its
// work, so that whoever takes over knows of it. more is true when there are
// others to delete.
func (r *Reconciler) clean(ctx context.Context, sj *v1alpha1.ScaledJob, l *ledger, before time.Time) (more bool, err error) {
	kept := map[batchv1.JobConditionType]int{batchv1.JobComplete: sj.SuccessfulJobsKept(), batchv1.JobFailed: sj.FailedJobsKept()}
	history := map[batchv1.JobConditionType][]*entry{}
	for _, e := range l.jobs {
		if job := e.object; job != nil && !e.deleted && !job.deleting && job.owner == sj.UID {
			history[job.how] = append(history[job.how], e)
		}
	}
	var surplus []*entry
	for how, limit := range kept {
		jobs := history[how]
		if len(jobs) <= limit {
			continue
		}
		slices.SortFunc(jobs, endedFirst)
		for _, e := range jobs[:len(jobs)-limit] {
			if e.Finished.Before(before) {
				surplus = append(surplus, e)
			}
		}
	}
	if len(surplus) > cleanBatch {
		surplus, more = surplus[:cleanBatch], true
	}
	return more, r.delete(ctx, surplus, metav1.DeletePropagationBackground)
}

// endedFirst orders finished Jobs by the end, then by creation and name.
func endedFirst(a, b *entry) int {
	return cmp.Or(a.object.ended.Compare(b.object.ended), a.object.created.Compare(b.object.created), cmp.Compare(a.object.name, b.object.name))
}

// delete deletes Jobs, several at a time, each only as it was seen.
func (r *Reconciler) delete(ctx context.Context, jobs []*entry, how metav1.DeletionPropagation) error {
	var mu sync.Mutex
	var errs []error
	inParallel(len(jobs), func(i int) bool {
		job := jobs[i].object
		err := r.Client.Delete(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: job.namespace, Name: job.name}},
			client.PropagationPolicy(how), client.Preconditions{UID: &job.uid})
		if err = client.IgnoreNotFound(err); err == nil {
			jobs[i].deleted = true
			return true
		}
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, fmt.Errorf("job %s: %w", job.name, err))
		return false
	})
	return errors.Join(errs...)
}
