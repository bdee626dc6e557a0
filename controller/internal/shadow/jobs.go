package shadow

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// job brings what is known of a ScaledJob up to date.
func (s *Shadow) job(sj *v1alpha1.ScaledJob, jobs []*batchv1.Job, e *entry) {
	now := s.Now()
	if e.uid != string(sj.UID) {
		e.anew(string(sj.UID))
	}
	o := &e.next
	o.Patience = patience(sj.PollingInterval())
	o.Theirs, o.TheirReady = conditions(sj.Status.Conditions)
	o.Paused, o.Problem = sj.Paused(), ""
	if err := sj.Validate(); err != nil && !o.Paused {
		o.Problem = equivalence.Shorten(err.Error())
	}
	running := int32(0)
	for _, job := range jobs {
		if why := kept.Why(job); why != "" && o.Problem == "" {
			o.Problem = equivalence.Shorten("its Jobs are not known: " + why)
		}
		if !scaledjob.HasEnded(job) {
			running++
		}
	}
	o.Replicas, o.Would, o.Triggers, o.Metrics = &running, nil, nil, nil
	if o.Paused || o.Problem != "" {
		return
	}
	d, read, ok := e.jobs.Decide(sj, jobs, s.States, now)
	if !ok {
		return
	}
	o.Active = ""
	if d.Active != nil {
		o.Active = string(d.Active.Status)
	}
	if d.Create > 0 {
		o.Would = &d.Create
	}
	for i, spec := range sj.Spec.Triggers {
		if !spec.Builtin() && i < len(d.Verdicts) {
			of := federation.ID{Kind: scalerv1.KindScaledJob, Namespace: sj.Namespace, Name: sj.Name, Index: i}
			o.Triggers = append(o.Triggers, s.trigger(of, spec.Type, sj.TriggerProblem(i), d.Verdicts[i]))
		}
	}
	for _, one := range read {
		e.readings(one, now, sj.PollingInterval())
	}
	e.forgetWindows()
}

// readings are the metrics of one trigger.
func (e *entry) readings(r readings.Reading, now time.Time, length time.Duration) {
	for _, m := range r.Metrics {
		one := equivalence.Metric{Name: m.Name, Target: m.Target, Kind: string(m.Type), Active: m.Active}
		if v := m.Value; r.Outcome == scaling.Value && v >= 0 {
			one.Value = &v
		}
		e.metric(one, nil, now, length)
	}
}
