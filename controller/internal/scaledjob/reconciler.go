// Package scaledjob starts the Jobs of every ScaledJob, deletes those that are
// no longer wanted, and tells in the status how their number came about.
package scaledjob

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Reconciler does all that is to be done about one ScaledJob: on every reading
// of its triggers, every change of the object or one of its Jobs, and when time
// alone changes the decision. It runs on the leader alone and keeps no
// goroutine per object.
type Reconciler struct {
	// Client is the manager's cached client.
	Client client.Client
	// Shown are the Jobs and Pods of ScaledJobs that the cache has.
	Shown Shown
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
	// Room reports whether there may be room in a namespace for an object that
	// there was none for; nil never does.
	Room func(namespace string) bool
	// Strip leaves of a Job or Pod what a cache keeps of it, as far as there is
	// room.
	Strip func(any) (any, error)
	// Told is what earlier decisions about ScaledJobs may take; nil is for
	// nothing.
	Told *kept.Budget
	Now  func() time.Time

	notices notices
	turns   turns

	mu      sync.Mutex
	objects map[types.NamespacedName]*memory
}

// Measures are kept for the operator of the installation.
type Measures interface {
	// Failed counts n more failures of a trigger with its metrics; n may be 0.
	Failed(sj *v1alpha1.ScaledJob, trigger int, metrics []string, n int32)
	// Read takes a reading of a trigger with its metrics, which may be without
	// data.
	Read(sj *v1alpha1.ScaledJob, trigger int, metrics []string, empty bool)
	// Decided tells how late a decision was: since the newest reading that it
	// follows from.
	Decided(sj *v1alpha1.ScaledJob, late time.Duration)
	// Ended tells how many of the newest Jobs that have ended failed in a row.
	Ended(sj *v1alpha1.ScaledJob, failed int)
	// ForgetTrigger drops what was counted for a trigger.
	ForgetTrigger(object types.NamespacedName, trigger int)
	// Forget drops what was counted for an object.
	Forget(object types.NamespacedName)
}

// Shown are what a cache has of one ScaledJob, as it has it: there may be tens of
// thousands, each reconcile looks at all of them, and nobody changes or copies one.
type Shown interface {
	Jobs(ctx context.Context, of types.NamespacedName) ([]*batchv1.Job, error)
	Pods(ctx context.Context, of types.NamespacedName) ([]*corev1.Pod, error)
}

// Defective writes into a ScaledJob that a mistake of ours ended what was being
// done for it.
func (r *Reconciler) Defective(ctx context.Context, key types.NamespacedName, defect error) error {
	sj := &v1alpha1.ScaledJob{}
	if err := r.Client.Get(ctx, key, sj); err != nil {
		return err
	}
	m := r.memory(sj)
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
	m := r.memory(sj)
	m.known = identity(sj)
	if m.round != nil && (sj.Paused() || m.round.generation != sj.Generation) {
		r.announceRound(ctx, sj, m)
	}
	if sj.Paused() {
		return r.report(ctx, sj, m, outcome{paused: true})
	}
	if err := sj.Validate(); err != nil {
		if kept.WantsRoom(sj) && r.Room != nil && r.Room(sj.Namespace) {
			// The status that says so is what has the cache read the object again.
			err = fmt.Errorf("%w; read again at %s", err, r.Now().UTC().Truncate(readAgain).Format(time.RFC3339))
		}
		return r.report(ctx, sj, m, outcome{err: err})
	}
	if err := r.observe(ctx, sj, m); err != nil {
		// Unknown Jobs are not no Jobs.
		return r.report(ctx, sj, m, outcome{err: err, soon: true})
	}
	more, err := r.rollout(ctx, sj, &m.ledger)
	if err != nil {
		return r.report(ctx, sj, m, outcome{err: err})
	}
	return r.decide(ctx, sj, m, more)
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
	if m := r.remembered(key); m != nil && m.known != nil {
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
func (r *Reconciler) observe(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) error {
	key, l := client.ObjectKeyFromObject(sj), &m.ledger
	ended := r.notices.take(key) // before the list, which shows at least that
	jobs, err := r.Shown.Jobs(ctx, key)
	if err != nil {
		r.notices.giveBack(key, ended)
		return fmt.Errorf("list jobs: %w", err)
	}
	if err := whole(ctx, r, l, "Job", jobs, r.getJob); err != nil {
		r.notices.giveBack(key, ended)
		return err
	}
	now := r.Now()
	l.observe(jobs, ended, now)
	for _, name := range l.unseenSince(now.Add(-unseenFor)) {
		_, err := r.metadataOf(ctx, types.NamespacedName{Namespace: sj.Namespace, Name: name})
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
	pods, err := r.Shown.Pods(ctx, key)
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	if err := whole(ctx, r, l, "Pod", pods, r.getPod); err != nil {
		return err
	}
	past := map[types.UID]bool{}
	for _, pod := range pods {
		job := metav1.GetControllerOfNoCopy(pod)
		if job != nil && started(pod, sj.Spec.ScalingStrategy.PendingPodConditions) {
			past[job.UID] = true
		}
	}
	l.start(past, now)
	return nil
}

// decide looks at all there is, starts Jobs, and deletes old ones. more is true
// when there are others of earlier generations to delete.
func (r *Reconciler) decide(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, more bool) (reconcile.Result, error) {
	read, oldest, ahead := r.readings(sj, m)
	if ahead {
		// The triggers are those of a spec that the cache is about to show.
		return reconcile.Result{}, nil
	}
	now := r.Now()
	stale := now.Add(-holds(sj, read))
	if oldest.Before(stale) {
		oldest = stale // no older reading counts
	}
	in := scaling.JobsInput{
		Object: sj, Now: now, LastActive: m.lastActive, Triggers: readings.Triggers(read), Jobs: m.ledger.known(oldest),
	}
	decision := scaling.DecideJobs(in)
	r.explain(m, in, decision)
	r.keep(sj, m, read, decision)
	found := outcome{decision: &decision, created: r.start(ctx, sj, m, decision), warnings: warnings(sj, read)}
	found.underWay = m.round != nil
	if err := ctx.Err(); err != nil {
		return reconcile.Result{}, err
	}
	var cleanErr error
	found.more, cleanErr = r.clean(ctx, sj, &m.ledger, oldest)
	found.more = found.more || more
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
	turn, end, again := r.turns.begin(sj.Namespace, r.Now())
	m.round.again, m.round.left = again, int(d.Create)
	if turn == nil {
		m.created = d.Arithmetic.Created
		return 0
	}
	defer end()
	created, err := r.create(ctx, sj, &m.ledger, int(d.Create), turn)
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
func (r *Reconciler) keep(sj *v1alpha1.ScaledJob, m *memory, read []readings.Reading, d scaling.JobsDecision) {
	m.lastActive = d.LastActive
	for _, one := range read {
		known, verdict := &m.triggers[one.Index], d.Verdicts[one.Index]
		r.Measures.Failed(sj, one.Index, one.Names(), max(verdict.Failures.Count-known.Failures.Count, 0))
		known.Keep(verdict)
		known.CarriedOut() // Jobs follow from readings alone
	}
	newest, fresh := readings.Newest(m.triggers, read)
	for _, one := range fresh {
		r.Measures.Read(sj, one.Index, one.Names(), one.Read == scaling.NoData)
	}
	r.Measures.Ended(sj, m.ledger.failures())
	if !newest.IsZero() {
		r.Measures.Decided(sj, max(r.Now().Sub(newest), 0))
	}
}

// holds is how long the reading of any trigger counts.
func holds(sj *v1alpha1.ScaledJob, read []readings.Reading) time.Duration {
	longest := scaling.StaleAfter(sampled(sj), scalerv1.ReadDeadline)
	for _, one := range read {
		longest = max(longest, one.StaleAfter)
	}
	return longest
}

// readings are what families said about the triggers of the object. oldest is
// when the oldest of those with a value was made. ahead is true when they are
// about a later generation than sj.
func (r *Reconciler) readings(sj *v1alpha1.ScaledJob, m *memory) (read []readings.Reading, oldest time.Time, ahead bool) {
	oldest = r.Now()
	named := readings.Named(sj.Status.ExternalMetricNames, len(sj.Spec.Triggers))
	for i, spec := range sj.Spec.Triggers {
		if spec.Builtin() {
			continue
		}
		state, ok := r.States(triggerID(sj, i))
		one, ahead := m.triggers[i].Read(sj, readings.Question{
			Index: i, Spec: spec, Interval: sampled(sj), Named: named[i],
			Waits: func(s federation.State) bool { return s.Outcome == scaling.Value && lost(sj, m, s.ObservedAt) },
		}, state, ok, r.Now())
		if ahead {
			return nil, oldest, true
		}
		if one.Outcome == scaling.Value && one.ReadAt.Before(oldest) {
			oldest = one.ReadAt
		}
		read = append(read, one)
	}
	return read, oldest, false
}

// sampled is the time between two readings: a ScaledJob always waits for work.
func sampled(sj *v1alpha1.ScaledJob) time.Duration {
	interval, _ := sj.IdlePollingInterval() // a bad annotation is a warning
	return interval
}

// warnings are what families find odd about the triggers, such as keys that
// they do not know, and keeps them from nothing.
func warnings(sj *v1alpha1.ScaledJob, read []readings.Reading) (all []string) {
	for _, one := range read {
		for _, text := range one.Odd {
			err := scaling.TriggerError{Index: one.Index, Type: sj.Spec.Triggers[one.Index].Type, Err: errors.New(text)}
			all = append(all, err.Error())
		}
	}
	return all
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
