package scaling

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Job is what is known of one Job, on the controller's clock. What is not known
// exactly is put later: a Job that ended before a reading but is taken to have
// ended after it delays work by one reading, and the other way round work
// would be done twice.
type Job struct {
	// Created is when the Job came to be.
	Created time.Time
	// Started is when it was no longer pending, zero while it is. Only
	// strategies that count pending Jobs look at it.
	Started time.Time
	// Finished is when it ended, in whatever way; zero while it runs.
	Finished time.Time
}

// running reports whether the Job ran at a moment.
func (j Job) running(at time.Time) bool {
	return !j.Created.After(at) && (j.Finished.IsZero() || j.Finished.After(at))
}

// pending reports whether the Job had not taken up work at a moment.
func (j Job) pending(at time.Time) bool {
	return j.running(at) && (j.Started.IsZero() || j.Started.After(at))
}

// JobsInput is all that a decision about Jobs looks at.
type JobsInput struct {
	// Object gives spec and annotations. Its status is not read.
	Object *v1alpha1.ScaledJob
	// Now on the controller's clock.
	Now time.Time
	// LastActive is when activity was last known, zero for never.
	LastActive time.Time
	// Triggers, one for each of spec.triggers, in any order. One that is absent
	// counts as Pending.
	Triggers []Trigger
	// Jobs that exist, and those that ended since the oldest reading in use.
	Jobs []Job
}

// JobsDecision is what follows from a JobsInput.
type JobsDecision struct {
	// Create is how many Jobs to start now.
	Create int32
	// Reading is the moment of the reading that they are for, zero when they
	// are for none.
	Reading time.Time
	// Arithmetic is how the number came about. Its Created is how many Jobs
	// there were before for the same reading.
	Arithmetic v1alpha1.JobArithmetic

	// Ready is the verdict on the triggers.
	Ready v1alpha1.Condition
	// Active is the condition, nil to leave it: while a first reading is still
	// to come and nothing else decides.
	Active *v1alpha1.Condition
	// Fallback is the condition.
	Fallback v1alpha1.Condition
	// LastActive is to be remembered and, now and then, stored.
	LastActive time.Time
	// Metrics are the names of all metrics in trigger order.
	Metrics []string
	// Activity of every metric, for status.triggersActivity.
	Activity map[string]v1alpha1.TriggerActivity
	// Verdicts, one for each of spec.triggers. Their Failures belong into the
	// next input.
	Verdicts []Verdict
	// Health of every metric, for status.health; nil without a fallback.
	Health map[string]v1alpha1.HealthStatus
	// Next is when the decision can change without anything new being heard,
	// zero for never.
	Next time.Time
}

// DecideJobs is the whole of what the controller decides about one ScaledJob at
// one moment.
//
// A reading says how much work there was when it was made. It is acted upon as
// of that moment, however often it is looked at: Jobs that have ended since
// still stand for work that it counted, and those started since are taken off
// what it asks for. So the same reading never starts a Job twice, and a reading
// that asked for more Jobs than there was room for starts the others as soon
// as there is.
//
// Differing from KEDA, maxReplicaCount is the most that runs at once, whatever
// the strategy, and a trigger that keeps failing may be replaced by a number of
// Jobs.
func DecideJobs(in JobsInput) JobsDecision {
	r := in.rules()
	in.Triggers = r.every(in.Triggers)
	d := JobsDecision{
		Ready:      condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonScaledJobReady, ""),
		LastActive: in.LastActive,
	}
	for _, t := range in.Triggers {
		v := r.judge(t)
		d.Verdicts = append(d.Verdicts, v)
		d.Next = earliest(d.Next, r.next(t, v))
	}
	d.reportTriggers(in)
	ask := backlogOf(in, d.Verdicts)
	d.count(in, ask)
	d.conclude(in, ask)
	return d
}

func (in JobsInput) rules() rules {
	r := rules{now: in.Now, interval: in.Object.PollingInterval(), triggers: in.Object.Spec.Triggers}
	if f := in.Object.Spec.Fallback; f != nil {
		r.threshold = &f.FailureThreshold
	}
	return r
}

// backlog is what the triggers ask for together.
type backlog struct {
	// queue is the combined length of the queues, jobs the same in Jobs: length
	// divided by target.
	queue, jobs float64
	// active is set when some trigger was chosen.
	active bool
	// read is when the oldest reading in it was made.
	read time.Time
	// errs are those of failing triggers; lasting is set when waiting is not
	// likely to help one of them.
	errs    []error
	lasting bool
	// held says which triggers have nothing to say.
	held []string
	// pending is set while a first reading is still to come.
	pending bool
	// fallback is set while some trigger is replaced.
	fallback bool
}

// backlogOf adds up the triggers that are active.
func backlogOf(in JobsInput, verdicts []Verdict) backlog {
	var b backlog
	var active []backlog
	for i, t := range in.Triggers {
		v, name := verdicts[i], label(in.Object.Spec.Triggers, t)
		switch {
		case in.Object.Spec.Triggers[i].Builtin():
			// cpu and memory say nothing about work that waits.
		case v.Outcome == Failed:
			b.errs = append(b.errs, v.Err)
			b.lasting = b.lasting || v.Lasting
			b.fallback = b.fallback || v.Fallback
		case v.Outcome == Pending:
			b.pending = true
			b.fallback = b.fallback || v.Fallback
			b.held = append(b.held, name+" has not been read yet")
		case v.Outcome == NoData, len(t.Metrics) == 0, !isNumber(t.Metrics[0].Value):
			b.held = append(b.held, name+" has no data")
		case t.active():
			active = append(active, t.backlog())
		}
	}
	combine(in.Object.Calculation(), active, &b)
	return b
}

func isNumber(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// active reports whether any metric is above its activation threshold.
func (t Trigger) active() bool {
	for _, m := range t.Metrics {
		if m.Active {
			return true
		}
	}
	return false
}

// backlog is what one active trigger asks for: its first metric's value, by the
// mean of all its targets. A target of 0 asks for nothing.
func (t Trigger) backlog() backlog {
	target := 0.0
	for _, m := range t.Metrics {
		target += m.Target / float64(len(t.Metrics))
	}
	b := backlog{queue: max(t.Metrics[0].Value, 0), active: true, read: t.ReadAt}
	if target > 0 {
		b.jobs = b.queue / target
	}
	return b
}

// combine does as KEDA does, surprises included: max and
// min choose by the length of the queue, and an empty queue is never chosen by
// max, and by min only when all are empty.
func combine(how v1alpha1.ScalersCalculation, active []backlog, into *backlog) {
	for _, b := range active {
		switch how {
		case v1alpha1.CalculateMin:
			if !into.active || into.queue == 0 || b.queue < into.queue {
				into.take(b)
			}
		case v1alpha1.CalculateAvg:
			n := float64(len(active))
			into.add(backlog{queue: b.queue / n, jobs: b.jobs / n, read: b.read})
		case v1alpha1.CalculateSum:
			into.add(b)
		case v1alpha1.CalculateMax:
			if b.queue > into.queue {
				into.take(b)
			}
		}
	}
}

func (b *backlog) take(other backlog) {
	b.active, b.queue, b.jobs, b.read = true, other.queue, other.jobs, other.read
}

func (b *backlog) add(other backlog) {
	b.active, b.queue, b.jobs = true, b.queue+other.queue, b.jobs+other.jobs
	b.read = earliest(b.read, other.read)
}

// What kept the number of Jobs down, for status and event.
const (
	limitMax         = "maxReplicaCount"
	limitRunning     = "Jobs that have the work already"
	limitQueueLength = "queue length"
	limitError       = "failing trigger"
)

// count fills in how many Jobs to create and why.
func (d *JobsDecision) count(in JobsInput, ask backlog) {
	a := &d.Arithmetic
	a.QueueLength, a.Wanted = whole(ask.queue), whole(ask.jobs)
	for _, j := range in.Jobs {
		if j.Finished.IsZero() {
			a.Running++
			if in.Object.CountsPending() && j.Started.IsZero() {
				a.Pending++
			}
		}
	}
	kept := in.Object.MinJobs()
	if ask.fallback {
		kept = max(kept, in.Object.Spec.Fallback.Replicas)
	}
	switch {
	case a.Running < kept:
		// What the queue asks for comes once these are there.
		d.Create = kept - a.Running
	case ask.active:
		d.forBacklog(in, ask)
	case len(ask.errs) > 0:
		a.LimitedBy = limitError
	}
}

// forBacklog is the number of Jobs that a backlog asks for.
func (d *JobsDecision) forBacklog(in JobsInput, ask backlog) {
	a, sj := &d.Arithmetic, in.Object
	then := jobCounts{most: float64(sj.MaxJobs() - sj.MinJobs())}
	since := 0.0
	for _, j := range in.Jobs {
		switch {
		case j.running(ask.read):
			then.running++
			if j.pending(ask.read) {
				then.pending++
			}
		case j.Created.After(ask.read):
			since++
		}
	}
	a.Created = int32(since)
	// Jobs that keep up the minimum are no part of the arithmetic.
	least := float64(sj.MinJobs())
	since -= min(max(least-then.running, 0), since)
	then.running = max(then.running-least, 0)
	now := jobCounts{running: float64(a.Running) - least, pending: float64(a.Pending), most: then.most}

	wanted, most := need(sj, ask.jobs, then), math.Ceil(ask.queue)
	if sj.Strategy() == v1alpha1.StrategyEager {
		most = then.most
	}
	left, free := min(wanted, most)-since, room(sj, now)
	d.Create = int32(max(min(left, free), 0))
	d.Reading = ask.read
	switch {
	case free < left:
		a.LimitedBy = fmt.Sprintf("%s %d", limitMax, sj.MaxJobs())
	case left <= 0 && ask.jobs > 0, wanted < roundUp(ask.jobs):
		a.LimitedBy = limitRunning
	case most < wanted:
		a.LimitedBy = limitQueueLength
	}
}

// jobCounts are Jobs at one moment, the minimum not counted.
type jobCounts struct{ running, pending, most float64 }

// need is how many Jobs a strategy asks for, given what ran when the backlog
// was read. It may be negative.
//
// In KEDA the backlog is cut to what may run;
// that limit is room's, so that it can be applied again whenever a Job ends.
func need(sj *v1alpha1.ScaledJob, jobs float64, then jobCounts) float64 {
	wanted := roundUp(jobs)
	switch sj.Strategy() {
	case v1alpha1.StrategyCustom:
		percentage, _ := sj.RunningJobPercentage()
		wanted = min(wanted, then.most) - float64(sj.QueueLengthDeduction()) - math.Trunc(then.running*percentage)
		return min(wanted, then.most)
	case v1alpha1.StrategyAccurate:
		return wanted - then.pending
	case v1alpha1.StrategyEager:
		return wanted
	case v1alpha1.StrategyDefault:
	}
	return wanted - then.running
}

// room is how many Jobs may be added to those that run now.
func room(sj *v1alpha1.ScaledJob, now jobCounts) float64 {
	if sj.Strategy() == v1alpha1.StrategyEager {
		return now.most - now.running - now.pending
	}
	return now.most - now.running
}

// roundUp is the next whole number, binary fractions forgiven: 3 × 0.1 by 0.1
// is 3.
func roundUp(v float64) float64 { return math.Ceil(math.Round(v*1e6) / 1e6) }

// whole is roundUp for status, within what a reader can make sense of.
func whole(v float64) int64 { return int64(min(roundUp(v), math.MaxInt32)) }

// conclude fills in the conditions.
func (d *JobsDecision) conclude(in JobsInput, ask backlog) {
	fallback := in.Object.Spec.Fallback
	d.Fallback = condition(v1alpha1.ConditionFallback, metav1.ConditionFalse, v1alpha1.ReasonNoFallbackFound, "")
	if ask.fallback {
		d.Fallback = condition(v1alpha1.ConditionFallback, metav1.ConditionTrue, v1alpha1.ReasonFallbackExists, "")
	}
	active := ask.active || in.Object.MinJobs() > 0 || ask.fallback && fallback.Replicas > 0
	if len(ask.errs) > 0 {
		d.Ready = condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTriggerError, joined(ask.errs))
		if active {
			d.Ready.Reason = v1alpha1.ReasonPartialTriggerError
		}
		if active && !ask.lasting {
			d.Ready.Status = metav1.ConditionUnknown
		}
	}
	now := inactivity(v1alpha1.ReasonScalerNotActive, strings.Join(ask.held, ", "), len(ask.errs) > 0 && !ask.fallback)
	switch {
	case active:
		now = condition(v1alpha1.ConditionActive, metav1.ConditionTrue, v1alpha1.ReasonScalerActive, strings.Join(ask.held, ", "))
		d.LastActive = in.Now
	case ask.pending:
		return
	}
	d.Active = &now
}

// reportTriggers fills what status shows of each trigger.
func (d *JobsDecision) reportTriggers(in JobsInput) {
	d.Activity = map[string]v1alpha1.TriggerActivity{}
	if in.Object.Spec.Fallback != nil {
		d.Health = map[string]v1alpha1.HealthStatus{}
	}
	for i, t := range in.Triggers {
		v := d.Verdicts[i]
		for _, m := range t.Metrics {
			d.Metrics = append(d.Metrics, m.Name)
			d.Activity[m.Name] = v1alpha1.TriggerActivity{IsActive: v.Outcome == Value && m.Active}
			if d.Health != nil && (v.Outcome != Pending || v.inherited()) {
				d.Health[m.Name] = v.health()
			}
		}
	}
}

// The reasons of the events that follow from a decision about Jobs.
const (
	EventJobsCreated     = "KEDAJobsCreated"
	EventJobCreateFailed = "KEDAJobCreateFailed"
)

// Announce is the event when created Jobs were started.
func (d JobsDecision) Announce(created int) Event {
	a := d.Arithmetic
	note := fmt.Sprintf("created %d Jobs: queue length %d asks for %d, %d were running, %d of them pending",
		created, a.QueueLength, a.Wanted, a.Running, a.Pending)
	if a.LimitedBy != "" {
		note += ", limited by " + a.LimitedBy
	}
	return Event{Type: corev1.EventTypeNormal, Reason: EventJobsCreated, Action: "CreateJobs", Note: brief(note)}
}
