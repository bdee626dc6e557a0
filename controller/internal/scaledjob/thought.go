package scaledjob

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Thought decides about one ScaledJob as a Reconciler does, while somebody else
// starts its Jobs. It has nothing to write with. Calls never run at once.
type Thought struct{ m *memory }

// Decide is what a Reconciler would decide beside the Jobs that there are, and
// what it was read from. It is false when the triggers known are those of a later
// generation than sj. Which Jobs are pending is not looked at: none is.
func (t *Thought) Decide(
	sj *v1alpha1.ScaledJob, jobs []*batchv1.Job, states func(federation.ID) (federation.State, bool), now time.Time,
) (d scaling.JobsDecision, read []readings.Reading, ok bool) {
	if t.m.isNot(sj) {
		t.m = seeded(sj, now)
	}
	t.m.follow(sj, now)
	r := Reconciler{States: states, Now: func() time.Time { return now }}
	read, _, ahead := r.readings(sj, t.m)
	if ahead {
		return d, nil, false
	}
	in := scaling.JobsInput{Object: sj, Now: now, LastActive: t.m.lastActive, Triggers: readings.Triggers(read)}
	for _, job := range jobs {
		_, ended := finished(job)
		created := job.CreationTimestamp.Time
		in.Jobs = append(in.Jobs, scaling.Job{Created: created, Started: created, Finished: ended})
	}
	d = scaling.DecideJobs(in)
	t.m.lastActive = d.LastActive
	for _, one := range read {
		t.m.triggers[one.Index].Keep(d.Verdicts[one.Index])
		t.m.triggers[one.Index].CarriedOut()
	}
	return d, read, true
}
