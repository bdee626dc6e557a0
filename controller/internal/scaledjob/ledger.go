package scaledjob

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// ledger is what is known of the Jobs of one ScaledJob: those that the cache
// shows, those that were created and are not there yet, and those that are gone
// but were there when a queue was read that still counts.
type ledger struct {
	jobs map[string]*entry
	// settled is the sequence number up to which every creation has come to an
	// end.
	settled int64
	// read are Jobs and Pods that the cache had no room for, as they were read
	// since.
	read map[string]reread
}

// entry is one Job.
type entry struct {
	scaling.Job
	// object is what the cache shows, nil while or when it shows nothing. last is
	// what it showed before.
	object, last *seen
	// unseen is since when it is known to exist without being in the cache,
	// zero once it was.
	unseen time.Time
	// deleted is set when the API server took the deletion. void is set when
	// what the Job had to do is to be done by another.
	deleted, void bool
}

// seen is what a cache shows of a Job.
type seen struct {
	namespace, name string
	uid, owner      types.UID
	version         string
	generation      string // of the ScaledJob that it was made for
	created, ended  time.Time
	how             batchv1.JobConditionType // it ended, "" while it runs
	deleting        bool
}

// seenOf is what a cache shows of a Job of which it showed last before.
func seenOf(job *batchv1.Job, last *seen) *seen {
	if last != nil && last.uid == job.UID && last.version == job.ResourceVersion {
		return last
	}
	s := &seen{
		namespace: job.Namespace, name: job.Name, uid: job.UID, version: job.ResourceVersion, created: job.CreationTimestamp.Time,
		generation: job.Annotations[v1alpha1.AnnotationScaledJobGeneration], deleting: job.DeletionTimestamp != nil,
	}
	if owner := metav1.GetControllerOfNoCopy(job); owner != nil {
		s.owner = owner.UID
	}
	s.how, s.ended = finished(job)
	return s
}

// late is the latest moment that the API server's whole seconds may stand for.
func late(at time.Time) time.Time { return at.Truncate(time.Second).Add(time.Second) }

// observe brings the ledger up to what the cache shows. ended says when the end
// of Jobs was heard of. What happened before the first time is known by the times
// of the API server.
func (l *ledger) observe(shown []*batchv1.Job, ended map[string]time.Time, now time.Time) {
	first := l.jobs == nil
	if first {
		l.jobs = map[string]*entry{}
	}
	for _, e := range l.jobs {
		e.last, e.object = e.object, nil
	}
	for _, job := range shown {
		e := l.jobs[job.Name]
		if e == nil {
			e = &entry{Job: scaling.Job{Created: late(job.CreationTimestamp.Time)}}
			l.jobs[job.Name] = e
		}
		e.object, e.unseen = seenOf(job, e.last), time.Time{}
		if e.object.how == "" || !e.Finished.IsZero() {
			continue
		}
		switch heard, ok := ended[job.Name]; {
		case first:
			e.Finished = late(e.object.ended)
		case ok:
			e.Finished = heard
		default:
			e.Finished = now
		}
	}
	for name, e := range l.jobs {
		if e.object != nil {
			continue
		}
		heard, gone := ended[name]
		switch {
		case e.void:
			delete(l.jobs, name)
		case !e.Finished.IsZero():
		case gone:
			e.Finished, e.unseen = heard, time.Time{}
		case e.unseen.IsZero():
			e.Finished = now
		}
	}
}

// failures is how many of the newest Jobs that have ended, and are kept, failed.
func (l *ledger) failures() int {
	var ended []*entry
	for _, e := range l.jobs {
		if e.object != nil && e.object.how != "" {
			ended = append(ended, e)
		}
	}
	slices.SortFunc(ended, endedFirst)
	n := 0
	for _, e := range slices.Backward(ended) {
		if e.object.how != batchv1.JobFailed {
			break
		}
		n++
	}
	return n
}

// start takes note of Jobs that were seen to be past pending.
func (l *ledger) start(past map[types.UID]bool, now time.Time) {
	for _, e := range l.jobs {
		if e.Started.IsZero() && e.object != nil && past[e.object.uid] {
			e.Started = now
		}
	}
}

// forget drops Jobs that are gone and ended before a moment.
func (l *ledger) forget(before time.Time) {
	for name, e := range l.jobs {
		if e.object == nil && !e.Finished.IsZero() && e.Finished.Before(before) {
			delete(l.jobs, name)
		}
	}
}

// known are the Jobs for a decision: those that run, and those that ended after
// a moment.
func (l *ledger) known(after time.Time) []scaling.Job {
	var jobs []scaling.Job
	for _, e := range l.jobs {
		if e.Finished.IsZero() || e.Finished.After(after) {
			jobs = append(jobs, e.Job)
		}
	}
	return jobs
}

// candidates are the sequence numbers of the next n Jobs, the lowest that may
// not have come to an end first.
func (l *ledger) candidates(sj *v1alpha1.ScaledJob, n int) []int64 {
	free := make([]int64, 0, n)
	for s := l.settled + 1; len(free) < n; s++ {
		if _, taken := l.jobs[jobName(sj, s)]; !taken {
			free = append(free, s)
		}
	}
	return free
}

// settle takes note of how the creation of candidates ended.
func (l *ledger) settle(tried []attempt) {
	if len(tried) == 0 {
		return
	}
	for _, a := range tried {
		if !a.ended() {
			l.settled = a.sequence - 1
			return
		}
		l.settled = a.sequence
	}
}

// unseenSince are the names of Jobs that the cache should show for longer than
// since a moment, and does not.
func (l *ledger) unseenSince(before time.Time) []string {
	var names []string
	for name, e := range l.jobs {
		if !e.unseen.IsZero() && e.unseen.Before(before) {
			names = append(names, name)
		}
	}
	return names
}

// owned reports whether the object controls a Job.
func owned(job metav1.Object, uid types.UID) bool {
	owner := metav1.GetControllerOf(job)
	return owner != nil && owner.UID == uid
}
