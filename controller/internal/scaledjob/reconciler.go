// Package scaledjob starts the Jobs of every ScaledJob, deletes those that are
// no longer wanted, and tells in the status how their number came about.
package scaledjob

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Reconciler does all that is to be done about one ScaledJob: on every reading
// of its triggers, every change of the object or one of its Jobs, and when time
// alone changes the decision. It runs on the leader alone and keeps no
// goroutine per object.
type Reconciler struct {
	// Client is the manager's cached client; Jobs are indexed by ByOwner.
	Client client.Client
	// Direct reads from the API server.
	Direct client.Reader
	Events events.EventRecorder
	// States answers from memory what families said about a trigger.
	States func(federation.ID) (federation.State, bool)
	// WatchPods makes the cache hold the Pods of Jobs and every change of them
	// a reconcile. It is called before Pods are listed, as often as that is.
	WatchPods func(context.Context) error
	Measures  Measures
	// Version of the controller, for the Jobs' labels.
	Version string
	Now     func() time.Time

	notices notices

	mu      sync.Mutex
	objects map[types.NamespacedName]*memory
	rate    *rate.Limiter
}

// Measures are kept for the operator of the installation.
type Measures interface {
	// Failed counts n more failures of a trigger with its metrics; n may be 0.
	Failed(sj *v1alpha1.ScaledJob, trigger int, metrics []string, n int32)
	// Empty counts a reading without data of a trigger with its metrics.
	Empty(sj *v1alpha1.ScaledJob, trigger int, metrics []string)
	// Decided tells how late a decision was: since the newest reading that it
	// follows from.
	Decided(sj *v1alpha1.ScaledJob, late time.Duration)
	// ForgetTrigger drops what was counted for a trigger.
	ForgetTrigger(object types.NamespacedName, trigger int)
	// Forget drops what was counted for an object.
	Forget(object types.NamespacedName)
}

// ByOwner is the index of Jobs by the name of their ScaledJob.
const ByOwner = "scaledJob"

// OwnerOf is the value of ByOwner.
func OwnerOf(job client.Object) []string {
	if name := job.GetLabels()[v1alpha1.LabelScaledJobName]; name != "" {
		return []string{name}
	}
	return nil
}

// Defective writes into a ScaledJob that a mistake of ours ended what was being
// done for it.
func (r *Reconciler) Defective(ctx context.Context, key types.NamespacedName, defect error) error {
	sj := &v1alpha1.ScaledJob{}
	if err := r.Client.Get(ctx, key, sj); err != nil {
		return err
	}
	m, _ := r.memory(sj)
	_, err := r.report(ctx, sj, m, outcome{err: defect})
	return err
}

// Reconcile brings one ScaledJob up to date.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	sj := &v1alpha1.ScaledJob{}
	if err := r.Client.Get(ctx, request.NamespacedName, sj); err != nil {
		if apierrors.IsNotFound(err) {
			r.gone(ctx, request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.release(ctx, sj); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !sj.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil // somebody else holds it
	}
	m, first := r.memory(sj)
	m.known = identity(sj)
	if m.round != nil && (sj.Paused() || m.round.generation != sj.Generation) {
		r.announceRound(ctx, sj, m)
	}
	if sj.Paused() {
		return r.report(ctx, sj, m, outcome{paused: true})
	}
	if err := sj.Validate(); err != nil {
		return r.report(ctx, sj, m, outcome{err: err})
	}
	if err := r.observe(ctx, sj, m, first); err != nil {
		// Unknown Jobs are not no Jobs.
		return r.report(ctx, sj, m, outcome{err: err, soon: true})
	}
	if err := r.rollout(ctx, sj, &m.ledger); err != nil {
		return r.report(ctx, sj, m, outcome{err: err})
	}
	return r.decide(ctx, sj, m)
}

// release takes off the finalizer that KEDA puts on: its Jobs, running ones too,
// are collected by Kubernetes, and nothing else is to be done in the end.
func (r *Reconciler) release(ctx context.Context, sj *v1alpha1.ScaledJob) error {
	before := sj.DeepCopy()
	if !controllerutil.RemoveFinalizer(sj, v1alpha1.Finalizer) {
		return nil
	}
	return r.Client.Patch(ctx, sj, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// gone says goodbye to an object that is there no more, once, if anything was
// known of it.
func (r *Reconciler) gone(ctx context.Context, key types.NamespacedName) {
	r.mu.Lock()
	m := r.objects[key]
	r.mu.Unlock()
	if m != nil && m.known != nil {
		known := m.known
		if m.written != nil {
			known = identity(m.written)
		}
		r.announceRound(ctx, known, m)
		r.announceWatch(known, "")
		status.Emit(r.Events, known, warning, "ScaledJobDeleted", "Deleted", "ScaledJob was deleted")
	}
	r.forget(key)
}

// identity is what of an object is told when it is gone.
func identity(sj *v1alpha1.ScaledJob) *v1alpha1.ScaledJob {
	known := &v1alpha1.ScaledJob{}
	known.Namespace, known.Name, known.UID = sj.Namespace, sj.Name, sj.UID
	known.Status.ExternalMetricNames, known.Status.TriggersTypes = sj.Status.ExternalMetricNames, sj.Status.TriggersTypes
	known.Status.Conditions = sj.Status.Conditions
	return known
}

// unseenFor is after what time the cache is no longer trusted to show a Job
// that was created.
const unseenFor = 30 * time.Second

// observe brings the ledger up to date.
func (r *Reconciler) observe(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, first bool) error {
	key, l := client.ObjectKeyFromObject(sj), &m.ledger
	ended := r.notices.take(key) // before the list, which shows at least that
	var jobs batchv1.JobList
	err := r.Client.List(ctx, &jobs, client.InNamespace(sj.Namespace), client.MatchingFields{ByOwner: sj.Name})
	if err != nil {
		r.notices.giveBack(key, ended)
		return fmt.Errorf("list jobs: %w", err)
	}
	now := r.Now()
	l.observe(jobs.Items, ended, first, now)
	for _, name := range l.unseenSince(now.Add(-unseenFor)) {
		err := r.Direct.Get(ctx, types.NamespacedName{Namespace: sj.Namespace, Name: name}, &batchv1.Job{})
		switch {
		case apierrors.IsNotFound(err):
			l.jobs[name].Finished, l.jobs[name].unseen = now, time.Time{}
		case err != nil:
			return fmt.Errorf("read job %s: %w", name, err)
		default:
			l.jobs[name].unseen = now
		}
	}
	if !sj.CountsPending() {
		return nil
	}
	if err := r.WatchPods(ctx); err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	var pods corev1.PodList
	err = r.Client.List(ctx, &pods, client.InNamespace(sj.Namespace), client.MatchingLabels{v1alpha1.LabelScaledJobName: sj.Name})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	past := map[types.UID]bool{}
	for i := range pods.Items {
		job := metav1.GetControllerOf(&pods.Items[i])
		if job != nil && started(&pods.Items[i], sj.Spec.ScalingStrategy.PendingPodConditions) {
			past[job.UID] = true
		}
	}
	l.start(past, now)
	return nil
}

// decide looks at all there is, starts Jobs, and deletes old ones.
func (r *Reconciler) decide(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) (reconcile.Result, error) {
	triggers, oldest, ahead := r.triggers(sj, m)
	if ahead {
		// The triggers are those of a spec that the cache is about to show.
		return reconcile.Result{}, nil
	}
	now := r.Now()
	stale := now.Add(-holds(sj, triggers))
	if oldest.Before(stale) {
		oldest = stale // no older reading counts
	}
	decision := scaling.DecideJobs(scaling.JobsInput{
		Object: sj, Now: now, LastActive: m.lastActive, Triggers: triggers, Jobs: m.ledger.known(oldest),
	})
	r.keep(sj, m, triggers, decision)
	found := outcome{decision: &decision, created: r.start(ctx, sj, m, decision), warnings: r.warnings(sj, m)}
	found.underWay = m.round != nil
	if err := ctx.Err(); err != nil {
		return reconcile.Result{}, err
	}
	var cleanErr error
	found.more, cleanErr = r.clean(ctx, sj, &m.ledger, oldest)
	m.ledger.forget(stale)
	result, err := r.report(ctx, sj, m, found)
	if err == nil {
		err = cleanErr
	}
	return result, err
}

// start creates what the decision asks for, unless creation was refused just
// now, and returns how many Jobs that were. What there is no time for is left
// for the next reconcile.
func (r *Reconciler) start(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, d scaling.JobsDecision) int {
	if d.Create == 0 {
		if d.Arithmetic.Created > 0 {
			m.created = d.Arithmetic.Created
		}
		r.announceRound(ctx, sj, m)
		return 0
	}
	if r.Now().Before(m.retry) {
		return 0
	}
	if m.round != nil && !m.round.decision.Reading.Equal(d.Reading) {
		r.announceRound(ctx, sj, m)
	}
	if m.round == nil {
		m.round = &round{decision: d, generation: sj.Generation}
	}
	created, err := r.create(ctx, sj, &m.ledger, int(d.Create))
	m.created = d.Arithmetic.Created + int32(created)
	m.round.created += created
	m.round.left = int(d.Create) - created
	if err == nil {
		m.allowed()
		if m.round.left == 0 {
			r.announceRound(ctx, sj, m)
		}
		return created
	}
	r.announceRound(ctx, sj, m)
	if ctx.Err() == nil {
		m.refuse(err, r.Now())
		status.Emit(r.Events, sj, warning, scaling.EventJobCreateFailed, "CreateJob",
			fmt.Sprintf("%d of %d Jobs not created: %v", int(d.Create)-created, d.Create, err))
	}
	return created
}

// announceRound tells of the Jobs that were created by now and ends their round.
func (r *Reconciler) announceRound(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) {
	if m.round == nil {
		return
	}
	if m.round.created > 0 {
		event := m.round.decision.Announce(m.round.created)
		log.FromContext(ctx).Info("Jobs created", "because", event.Note)
		status.Emit(r.Events, sj, event.Type, event.Reason, event.Action, event.Note)
	}
	m.round = nil
}

// keep remembers what the next decision starts from, and measures this one.
func (r *Reconciler) keep(sj *v1alpha1.ScaledJob, m *memory, triggers []scaling.Trigger, d scaling.JobsDecision) {
	m.lastActive = d.LastActive
	var newest time.Time
	for _, t := range triggers {
		known := &m.triggers[t.Index]
		var metrics []string
		for _, metric := range t.Metrics {
			metrics = append(metrics, metric.Name)
		}
		after := d.Verdicts[t.Index].Failures
		r.Measures.Failed(sj, t.Index, metrics, max(after.Count-known.failures.Count, 0))
		known.failures = after
		state, _ := r.States(triggerID(sj, t.Index))
		if !state.ObservedAt.After(known.observed) {
			continue
		}
		known.observed = state.ObservedAt
		if known.observed.After(newest) {
			newest = known.observed
		}
		if state.Outcome == federation.OutcomeNoData {
			r.Measures.Empty(sj, t.Index, metrics)
		}
	}
	if !newest.IsZero() {
		r.Measures.Decided(sj, max(r.Now().Sub(newest), 0))
	}
}

// holds is how long the reading of any trigger counts.
func holds(sj *v1alpha1.ScaledJob, triggers []scaling.Trigger) time.Duration {
	longest := scaling.StaleAfter(sampled(sj), activation.ReadDeadline)
	for _, t := range triggers {
		longest = max(longest, t.StaleAfter)
	}
	return longest
}

// triggers is what families said about those of the object. oldest is when the
// oldest of the readings was made. ahead is true when they are about a later
// generation than sj.
func (r *Reconciler) triggers(sj *v1alpha1.ScaledJob, m *memory) (list []scaling.Trigger, oldest time.Time, ahead bool) {
	oldest = r.Now()
	interval := sampled(sj)
	for i, spec := range sj.Spec.Triggers {
		if spec.Builtin() {
			continue
		}
		known := &m.triggers[i]
		state, ok := r.States(triggerID(sj, i))
		t := scaling.Trigger{
			Index: i, Confirmed: known.firstSeen, Failures: known.failures,
			Interval: interval, StaleAfter: scaling.StaleAfter(interval, max(activation.ReadDeadline, state.ReadDeadline)),
		}
		if state.Since.After(t.Confirmed) {
			t.Confirmed = state.Since
		}
		if ok && state.Generation > sj.Generation {
			return nil, oldest, true
		}
		t.Metrics = metricsOf(sj, i, state)
		if ok && state.Generation >= known.since {
			r.read(sj, m, &t, state)
			t.CountsFrom = activation.CountsFrom(state, interval)
		}
		if problem := sj.TriggerProblem(i); problem != nil {
			t.Outcome, t.Err, t.Confirmed = scaling.Failed, problem, r.Now()
		}
		if t.Outcome == scaling.Value && t.ReadAt.Before(oldest) {
			oldest = t.ReadAt
		}
		list = append(list, t)
	}
	return list, oldest, false
}

// sampled is the time between two readings: a ScaledJob always waits for work.
func sampled(sj *v1alpha1.ScaledJob) time.Duration {
	interval, _ := sj.IdlePollingInterval() // a bad annotation is a warning
	return interval
}

// warnings are what families find odd about the triggers, such as keys that
// they do not know, and keeps them from nothing.
func (r *Reconciler) warnings(sj *v1alpha1.ScaledJob, m *memory) (all []string) {
	for i, spec := range sj.Spec.Triggers {
		state, ok := r.States(triggerID(sj, i))
		if !ok || state.Generation < m.triggers[i].since {
			continue
		}
		for _, text := range state.Odd() {
			err := scaling.TriggerError{Index: i, Type: spec.Type, Err: errors.New(text)}
			all = append(all, err.Error())
		}
	}
	return all
}

// read fills in what a family said of a trigger. What stands in for a missing
// answer is no reading: a number that is only repeated would start the same
// Jobs again.
func (r *Reconciler) read(sj *v1alpha1.ScaledJob, m *memory, t *scaling.Trigger, state federation.State) {
	switch {
	case state.Rejected != nil:
		t.Outcome, t.Err, t.Confirmed = scaling.Failed, state.Rejected, r.Now()
	case state.Unreachable != nil:
		t.Outcome, t.Err, t.Confirmed = scaling.Failed, state.Unreachable, r.Now()
	case state.Outcome == federation.OutcomeNone:
	case activation.OutOfDate(state, state.HeardAt, r.Now(), t.StaleAfter):
	case state.Err != nil:
		t.Outcome, t.Err, t.Confirmed = scaling.Failed, state.Err, state.HeardAt
	case state.Outcome != federation.OutcomeValue:
		t.Outcome, t.Confirmed = scaling.NoData, state.HeardAt
	case !lost(sj, m, state.ObservedAt):
		t.Outcome, t.Confirmed, t.ReadAt = scaling.Value, state.HeardAt, state.ObservedAt
	}
}

func triggerID(sj *v1alpha1.ScaledJob, index int) federation.ID {
	return federation.ID{Kind: scalerv1.KindScaledJob, Namespace: sj.Namespace, Name: sj.Name, Index: index}
}

// lost reports whether Jobs may have ended and been deleted by Kubernetes
// between a reading and the moment that this process first saw the Jobs.
func lost(sj *v1alpha1.ScaledJob, m *memory, read time.Time) bool {
	ttl := sj.Spec.JobTargetRef.TTLSecondsAfterFinished
	return ttl != nil && read.Add(time.Duration(*ttl)*time.Second).Before(m.since)
}

// metricsOf are the metrics of a trigger as the family names them, else as they
// were called last.
func metricsOf(sj *v1alpha1.ScaledJob, index int, state federation.State) []scaling.Metric {
	var metrics []scaling.Metric
	for _, s := range state.Specs {
		// A metric without a reading is unknown, not empty.
		m := scaling.Metric{Name: scaling.MetricName(index, s.Name), Target: s.Target, Value: math.NaN()}
		for _, v := range state.Values {
			if v.Metric == s.Name {
				m.Value, m.Active = v.Value, v.Active
			}
		}
		metrics = append(metrics, m)
	}
	if len(metrics) > 0 {
		return metrics
	}
	for _, name := range sj.Status.ExternalMetricNames {
		if i, _, ok := scaling.SplitMetricName(name); ok && i == index {
			metrics = append(metrics, scaling.Metric{Name: name, Value: math.NaN()})
		}
	}
	return metrics
}

// limit is the rate at which Jobs are created.
func (r *Reconciler) limit() *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rate == nil {
		r.rate = rate.NewLimiter(createRate, createRate)
	}
	return r.rate
}
