package scaledjob

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/metrics"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func limited(most int32) func(*v1alpha1.ScaledJob) {
	return func(sj *v1alpha1.ScaledJob) { sj.Spec.MaxReplicaCount = &most }
}

func TestAReadingStartsJobs(t *testing.T) {
	f := newFixture(t, newObject(limited(5)))
	f.run()
	f.wantRunning("before any reading", 0)
	f.reads(0, 12)
	f.run()
	f.wantRunning("twelve in the queue", 5)
	f.wantSaid("twelve in the queue", "Normal ScaledJobReady ScaledJob is ready", "Normal ScaledJobActive at least one trigger is active", "Normal KEDAScalersStarted started watching rabbitmq",
		"Normal KEDAJobsCreated created 5 Jobs: queue length 12 asks for 12, 0 were running, 0 of them pending, limited by maxReplicaCount 5")
	want := v1alpha1.JobArithmetic{QueueLength: 12, Wanted: 12, Running: 5, Created: 5, LimitedBy: "maxReplicaCount 5"}
	if got := f.object().Status.Jobs; got == nil || *got != want {
		t.Errorf("the arithmetic is %+v, want %+v", got, want)
	}
	f.wantCondition("at work", v1alpha1.ConditionReady, "True ScaledJobReady", "")
	f.wantCondition("at work", v1alpha1.ConditionActive, "True ScalerActive", "")
	if s := f.object().Status; s.TriggersTypes != "rabbitmq" || !slices.Equal(s.ExternalMetricNames, []string{"s0-queue"}) ||
		!maps.Equal(s.TriggersActivity, map[string]v1alpha1.TriggerActivity{"s0-queue": {IsActive: true}}) || s.LastActiveTime == nil {
		t.Errorf("status %+v", s)
	}
	f.run()
	f.run()
	f.wantRunning("the same reading again", 5)
	f.end(2, batchv1.JobComplete)
	f.run()
	f.wantRunning("two places became free", 5)
	if n := len(f.jobs()); n != 7 {
		t.Errorf("%d Jobs in all, want 7", n)
	}
	f.end(5, batchv1.JobComplete)
	f.run()
	f.wantRunning("what is left of the twelve", 5)
	f.end(5, batchv1.JobComplete)
	f.run()
	f.wantRunning("the reading is used up", 0)
	f.clock.Step(time.Second)
	f.reads(0, 0)
	f.run()
	f.wantCondition("empty", v1alpha1.ConditionActive, "False ScalerNotActive", "")
	f.wantSaid("empty", "Normal ScaledJobInactive no trigger is active")
}

func TestAnIdleObjectCostsNoWrites(t *testing.T) {
	f := newFixture(t, newObject())
	f.reads(0, 0)
	f.run()
	f.cluster.Writes()
	for range 20 {
		f.clock.Step(15 * time.Second)
		f.reads(0, 0)
		f.run()
	}
	if writes := f.cluster.Writes(); len(writes) != 0 {
		t.Errorf("wrote %q", writes)
	}
}

// The cache shows nothing of what was created.
func TestJobsThatAreNotSeenYetCount(t *testing.T) {
	f := newFixture(t, newObject(limited(50)))
	f.cluster.FreezeJobs(t)
	f.reads(0, 10)
	f.run()
	f.run()
	f.clock.Step(time.Second)
	f.reads(0, 10)
	f.run()
	f.wantRunning("ten in the queue, ten unseen Jobs", 10)
	f.clock.Step(unseenFor + time.Second)
	f.reads(0, 10)
	f.run()
	f.wantRunning("unseen for long, but there", 10)
	for _, job := range f.jobs()[:4] {
		if err := f.cluster.Direct.Delete(t.Context(), &job); err != nil {
			t.Fatal(err)
		}
	}
	f.clock.Step(unseenFor + time.Second)
	f.run()
	f.clock.Step(time.Second)
	f.reads(0, 10)
	f.run()
	f.wantRunning("four of them were never seen, and are gone", 10)
}

// A creation whose answer is lost is repeated under the same name.
func TestLostAnswersCreateNothingTwice(t *testing.T) {
	f := newFixture(t, newObject(limited(50)))
	var calls atomic.Int32
	lost := lossy{f.cluster.Client, &calls}
	f.Client = lost
	f.cluster.FreezeJobs(t)
	f.reads(0, 10)
	for range 40 {
		f.run()
		f.clock.Step(time.Second)
		f.reads(0, 10)
		if len(f.running()) > 10 {
			t.Fatalf("%d Jobs for ten messages", len(f.running()))
		}
	}
	f.wantRunning("every third answer is lost", 10)
	if calls.Load() <= 10 {
		t.Errorf("%d calls: no answer was lost", calls.Load())
	}
}

// A new process knows what the API server keeps. What the old one had under way
// when it was killed arrives late, and what it created last is not in the new
// one's cache.
func TestTakingOverCreatesNothingTwice(t *testing.T) {
	f := newFixture(t, newObject(limited(50)))
	f.reads(0, 20)
	stopped := errors.New("killed")
	var created atomic.Int32
	f.cluster.Fail(func(write string) error {
		if write == "create Job" && created.Add(1) > 7 {
			return stopped
		}
		return nil
	})
	f.run()
	f.wantRunning("killed on the way", 7)
	f.cluster.Fail(nil)

	f.cluster.FreezeJobs(t)
	old := f.Reconciler
	f.restart()
	f.runOn()
	f.wantRunning("the next one goes on", 20)

	f.clock.Step(lastRetry)
	f.Reconciler = old // has heard of nothing, and its cache shows seven
	f.runOn()
	f.wantRunning("the old one comes back for a moment", 20)

	f.cluster.Thaw()
	f.restart()
	f.runOn()
	f.wantRunning("and another one", 20)
	f.end(20, batchv1.JobComplete)
	f.restart()
	f.runOn()
	f.wantRunning("all done, the reading is old, the process new", 0)
}

func TestAListThatFailsIsNoEmptyList(t *testing.T) {
	f := newFixture(t, newObject(limited(5)))
	f.reads(0, 5)
	f.run()
	f.cluster.Fail(func(what string) error {
		if what == "list Job" {
			return errors.New("etcd has no leader")
		}
		return nil
	})
	f.clock.Step(time.Second)
	f.reads(0, 9)
	f.run()
	f.wantRunning("the list fails", 5)
	f.wantCondition("the list fails", v1alpha1.ConditionReady, "False ScaledJobCheckFailed", "list jobs: etcd has no leader")
	f.wantCondition("the list fails", v1alpha1.ConditionActive, "Unknown UnknownState", "")
	if f.due.Sub(f.clock.Now()) > 3*time.Second {
		t.Errorf("comes back in %v", f.due.Sub(f.clock.Now()))
	}
	f.cluster.Fail(nil)
	f.run()
	f.wantCondition("it works again", v1alpha1.ConditionReady, "True ScaledJobReady", "")
}

func TestCreationThatIsRefused(t *testing.T) {
	resource := schema.GroupResource{Group: "batch", Resource: "jobs"}
	tests := map[string]error{
		"exceeded quota: jobs, requested: count/jobs.batch=1, used: 2, limited: 2":                                   apierrors.NewForbidden(resource, "x", errors.New("exceeded quota: jobs, requested: count/jobs.batch=1, used: 2, limited: 2")),
		"unable to create new content in namespace shop because it is being terminated":                              apierrors.NewForbidden(resource, "x", errors.New("unable to create new content in namespace shop because it is being terminated")),
		"spec.template.spec.containers[0].image: Required value":                                                     apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "x", nil),
		`admission webhook "policy.example.com" denied the request: images must come from our registry`:              apierrors.NewForbidden(resource, "x", errors.New(`admission webhook "policy.example.com" denied the request: images must come from our registry`)),
		`failed calling webhook "policy.example.com": Post "https://policy.shop.svc:443": context deadline exceeded`: apierrors.NewInternalError(errors.New(`failed calling webhook "policy.example.com": Post "https://policy.shop.svc:443": context deadline exceeded`)),
	}
	for message, refusal := range tests {
		t.Run(message[:20], func(t *testing.T) {
			if invalid := (*apierrors.StatusError)(nil); errors.As(refusal, &invalid) && apierrors.IsInvalid(refusal) {
				invalid.ErrStatus.Message = `Job.batch "x" is invalid: ` + message
			}
			f := newFixture(t, newObject(limited(50)))
			var calls atomic.Int32
			f.cluster.Fail(func(write string) error {
				if write == "create Job" && calls.Add(1) > 2 {
					return refusal
				}
				return nil
			})
			f.reads(0, 40)
			f.run()
			f.wantCondition("refused", v1alpha1.ConditionReady, "False KEDAJobCreateFailed", message)
			f.wantSaid("refused", "Warning KEDAJobCreateFailed 38 of 40 Jobs not created: ", "Normal KEDAJobsCreated created 2 Jobs")
			if n := calls.Load(); n > 2+atOnce {
				t.Errorf("%d calls: no more should be tried after a refusal", n)
			}
			before := calls.Load()
			for range 100 { // events keep coming
				f.run()
			}
			if calls.Load() != before {
				t.Errorf("%d more calls within %v", calls.Load()-before, 200*time.Millisecond)
			}
			if wait := f.due.Sub(f.clock.Now()); wait <= 0 || wait > firstRetry {
				t.Errorf("tries again in %v", wait)
			}
			for range 5 {
				f.clock.Step(lastRetry)
				f.run()
			}
			if n := calls.Load() - before; n > 5*atOnce {
				t.Errorf("%d calls in five attempts", n)
			}
			f.cluster.Fail(nil)
			f.clock.Step(lastRetry)
			f.reads(0, 40)
			f.runOn()
			f.wantRunning("allowed again", 40)
			f.wantCondition("allowed again", v1alpha1.ConditionReady, "True ScaledJobReady", "")
		})
	}
}

func TestAnotherGenerationMayBeAllowedAtOnce(t *testing.T) {
	f := newFixture(t, newObject())
	f.cluster.Fail(func(write string) error {
		if write == "create Job" {
			return errors.New("invalid image")
		}
		return nil
	})
	f.reads(0, 3)
	f.run()
	f.cluster.Fail(nil)
	f.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTargetRef.Template.Spec.Containers[0].Image = "better" })
	f.run()
	f.wantRunning("mended", 3)
}

func TestBadSpecsTouchNothing(t *testing.T) {
	f := newFixture(t, newObject(limited(5), func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }))
	f.reads(0, 5)
	f.run()
	f.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.MinReplicaCount = ptr.To[int32](9) })
	f.run()
	f.wantRunning("a spec that makes no sense", 5)
	f.wantCondition("a spec that makes no sense", v1alpha1.ConditionReady, "False ScaledJobCheckFailed", "minReplicaCount: 9 exceeds maxReplicaCount 5")
	f.wantSaid("a spec that makes no sense", "Warning ScaledJobCheckFailed minReplicaCount")
}

func TestRollout(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.ScaledJob)
		left   int // of the Jobs of the first generation, one of them finished
		events []string
	}{
		"nothing said": {func(*v1alpha1.ScaledJob) {}, 5, nil},
		"gradual":      {func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutGradual }, 5, nil},
		"immediate": {func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }, 0, []string{
			"Normal ScaledJobRolloutCleanupStarted deleting 5 Jobs", "Normal ScaledJobRolloutCleanupCompleted deleted 5 Jobs",
		}},
		"older spelling": {func(sj *v1alpha1.ScaledJob) { sj.Spec.RolloutStrategy = v1alpha1.RolloutImmediate }, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, newObject(limited(5), tt.change))
			f.reads(0, 5)
			f.run()
			f.end(1, batchv1.JobComplete)
			f.run()
			f.said()
			f.restart()
			f.run()
			if n := len(f.jobs()); n != 5 {
				t.Fatalf("%d Jobs after a restart, want 5", n)
			}
			f.clock.Step(time.Second)
			f.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTargetRef.BackoffLimit = ptr.To[int32](1) })
			f.run()
			f.wantSaid(name, tt.events...)
			f.run()
			left := 0
			for _, job := range f.jobs() {
				if job.Annotations[v1alpha1.AnnotationScaledJobGeneration] == "1" {
					left++
				}
			}
			if left != tt.left {
				t.Errorf("%d Jobs of the first generation are left, want %d", left, tt.left)
			}
			if tt.left == 0 { // what they had to do is done by others, for the same reading
				f.wantRunning("replaced", 5)
			}
		})
	}
}

// A worker that deletes is one that nobody else's objects have.
func TestARolloutOfManyJobsTakesTurns(t *testing.T) {
	sj := newObject(limited(5), func(sj *v1alpha1.ScaledJob) { sj.Generation, sj.Spec.Rollout.Strategy = 2, v1alpha1.RolloutImmediate })
	objects := []client.Object{sj}
	for n := range 2*cleanBatch + 1 {
		job := newJob(sj, jobName(sj, int64(n+1)), "")
		job.Annotations[v1alpha1.AnnotationScaledJobGeneration] = "1"
		objects = append(objects, job)
	}
	f := newFixture(t, objects...)
	for _, left := range []int{cleanBatch + 1, 1, 0} {
		f.run()
		f.wantRunning("a rollout", left)
		if left > 0 && f.due.IsZero() {
			t.Errorf("%d Jobs are left for ever", left)
		}
	}
}

func TestARolloutThatFailsSaysSo(t *testing.T) {
	f := newFixture(t, newObject(limited(5), func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }))
	f.reads(0, 5)
	f.run()
	f.cluster.Fail(func(write string) error {
		if write == "delete Job" {
			return errors.New("no")
		}
		return nil
	})
	f.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTargetRef.BackoffLimit = ptr.To[int32](1) })
	f.run()
	f.wantRunning("not deleted", 5)
	f.wantCondition("not deleted", v1alpha1.ConditionReady, "False ScaledJobCheckFailed", "rollout: job batch-")
	f.wantSaid("not deleted", "Warning ScaledJobRolloutCleanupFailed")
	f.cluster.Fail(nil)
	f.run()
	f.run()
	f.wantRunning("deleted and replaced", 5)
	f.wantCondition("deleted", v1alpha1.ConditionReady, "True ScaledJobReady", "")
}

func TestJobsOfOthersAreCountedAndKept(t *testing.T) {
	theirs := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: "by-hand", UID: "theirs", Labels: map[string]string{v1alpha1.LabelScaledJobName: key.Name},
	}}
	f := newFixture(t, theirs, newObject(limited(5), func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }))
	f.reads(0, 9)
	f.run()
	f.wantRunning("one of them by hand", 5)
	f.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTargetRef.BackoffLimit = ptr.To[int32](1) })
	f.run()
	if !slices.Contains(f.running(), "by-hand") {
		t.Error("a Job that is not the object's was deleted")
	}
}

func TestANameThatIsTakenIsPassedOver(t *testing.T) {
	sj := newObject()
	foreign := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: jobName(sj, 1)}}
	f := newFixture(t, sj, foreign)
	f.reads(0, 2)
	f.run()
	f.run()
	var ours int
	for _, job := range f.jobs() {
		if owned(&job, sj.UID) {
			ours++
		}
	}
	if ours != 2 {
		t.Errorf("%d Jobs of the object, want 2", ours)
	}
}

func TestHistory(t *testing.T) {
	f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) {
		sj.Spec.SuccessfulJobsHistoryLimit, sj.Spec.FailedJobsHistoryLimit = ptr.To[int32](2), ptr.To[int32](1)
	}))
	var order []string
	for i := range 8 {
		f.clock.Step(time.Second)
		f.reads(0, 1)
		f.run()
		order = append(order, f.running()...)
		f.clock.Step(time.Second)
		how := batchv1.JobComplete
		if i%2 == 1 {
			how = batchv1.JobFailed
		}
		f.end(1, how)
		f.run()
	}
	var left []string
	for _, job := range f.jobs() {
		left = append(left, job.Name)
	}
	want := []string{order[4], order[6], order[7]}
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("kept %q, want the latest two complete and the latest failed one, %q", left, want)
	}
}

// Whoever takes over must see the Jobs that did the work of the last reading.
func TestAFinishedJobStaysUntilTheNextReading(t *testing.T) {
	f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) { sj.Spec.SuccessfulJobsHistoryLimit = ptr.To[int32](0) }))
	f.reads(0, 3)
	f.run()
	f.end(3, batchv1.JobComplete)
	f.run()
	f.restart()
	f.run()
	if n := len(f.jobs()); n != 3 {
		t.Errorf("%d Jobs for three messages", n)
	}
	f.clock.Step(2 * time.Second)
	f.reads(0, 0)
	f.run()
	if n := len(f.jobs()); n != 0 {
		t.Errorf("%d Jobs are kept, want none", n)
	}
}

// One request for each surplus Job, and none to find out which they are.
func TestTenThousandFinishedJobsAreCleanedUp(t *testing.T) {
	const many, kept = 10_000, 100
	f := newFixture(t, newObject())
	cached := &archive{Client: f.cluster.Client, jobs: map[string]batchv1.Job{}}
	f.Client, f.Direct = cached, nil
	none := unbounded()
	for i := range many {
		at := metav1.NewTime(began.Add(-time.Duration(many-i) * time.Second))
		how := []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed}[i%2]
		job := newJob(f.object(), fmt.Sprintf("batch-%05d", i), f.Version)
		job.UID, job.CreationTimestamp = types.UID(job.Name), at
		job.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue, LastTransitionTime: at}}
		if _, err := Stripped(none)(job); err != nil { // as the cache holds them
			t.Fatal(err)
		}
		cached.jobs[job.Name] = *job
	}
	f.reads(0, 0)
	rounds := 0
	for again := true; again; rounds++ {
		f.run()
		again = !f.due.IsZero() && f.due.Before(f.clock.Now().Add(time.Second))
	}
	if surplus := many - 2*kept; cached.deletes != surplus || rounds > surplus/cleanBatch+2 {
		t.Errorf("%d deletions in %d rounds for %d surplus Jobs", cached.deletes, rounds, surplus)
	}
	for name := range cached.jobs {
		if name < fmt.Sprintf("batch-%05d", many-2*kept) {
			t.Errorf("%s is kept, a later one is not", name)
		}
	}
	if writes := f.cluster.Writes(); len(writes) > 3 { // of the object: its status
		t.Errorf("wrote %q", writes)
	}
}

// So many Jobs take many reconciles at the rate of creation: each is a chance to
// stop.
func TestCreationCanBeStoppedAndSaysHowFarItIs(t *testing.T) {
	const many = 400
	annotate := func(f *fixture, annotations map[string]string) {
		f.t.Helper()
		sj := f.object()
		sj.Annotations = annotations
		if err := f.cluster.Direct.Update(f.t.Context(), sj); err != nil {
			f.t.Fatal(err)
		}
	}
	begin := func(t *testing.T) (f *fixture, created int) {
		f = newFixture(t, newObject(limited(many)))
		f.reads(0, many)
		f.run()
		if created = len(f.running()); created == 0 || created == many {
			t.Fatalf("%d Jobs in one go", created)
		}
		f.wantCondition("under way", v1alpha1.ConditionReady, "True ScaledJobReady", fmt.Sprintf("creating Jobs, %d of %d so far", created, many))
		if f.due.IsZero() || f.due.After(f.clock.Now().Add(time.Second)) {
			t.Errorf("goes on at %v, it is %v", f.due, f.clock.Now())
		}
		f.said()
		return f, created
	}
	told := func(f *fixture, what string, created int) {
		f.t.Helper()
		f.wantSaid(what, fmt.Sprintf("Normal KEDAJobsCreated created %d Jobs: queue length %d", created, many))
	}
	t.Run("goes on to the end, and tells of all at once", func(t *testing.T) {
		f, _ := begin(t)
		for f.due.Before(f.clock.Now().Add(time.Second)) {
			f.run()
		}
		f.wantRunning("after the last", many)
		if said := f.said(); len(said) != 1 || !strings.HasPrefix(said[0], fmt.Sprintf("Normal KEDAJobsCreated created %d Jobs", many)) {
			t.Errorf("events %q", said)
		}
		f.clock.Step(pace)
		f.run()
		f.wantCondition("done", v1alpha1.ConditionReady, "True ScaledJobReady", "")
		if c, _ := f.object().Status.Conditions.Get(v1alpha1.ConditionReady); strings.Contains(c.Message, "so far") {
			t.Errorf("done, and Ready says %q", c.Message)
		}
	})
	t.Run("paused", func(t *testing.T) {
		f, created := begin(t)
		annotate(f, map[string]string{v1alpha1.AnnotationPaused: "true"})
		f.run()
		f.wantRunning("paused", created)
		told(f, "paused", created)
	})
	t.Run("edited", func(t *testing.T) {
		f, created := begin(t)
		f.edit(limited(1))
		f.run()
		f.wantRunning("edited", created)
		told(f, "edited", created)
	})
	t.Run("deleted", func(t *testing.T) {
		f, created := begin(t)
		if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
			t.Fatal(err)
		}
		f.run()
		f.wantRunning("deleted", created)
		told(f, "deleted", created)
	})
}

func TestTheEndOfAJobIsNotForgottenWhenNothingCanBeListed(t *testing.T) {
	f := newFixture(t, newObject(limited(5)))
	f.reads(0, 5)
	f.run()
	f.end(5, batchv1.JobComplete)
	f.cluster.Fail(func(write string) error {
		if write == "list Job" {
			return errors.New("etcd has no leader")
		}
		return nil
	})
	f.run()
	f.cluster.Fail(nil)
	f.clock.Step(time.Second)
	f.reads(0, 5) // what the five did is not in it
	f.run()
	f.wantRunning("five more", 5)
}

func TestPause(t *testing.T) {
	f := newFixture(t, newObject(limited(5)))
	f.reads(0, 3)
	f.run()
	f.said()
	pause := func(value string) {
		f.t.Helper()
		sj := f.object()
		sj.Annotations = map[string]string{v1alpha1.AnnotationPaused: value}
		if err := f.cluster.Direct.Update(t.Context(), sj); err != nil {
			t.Fatal(err)
		}
	}
	pause("true")
	f.clock.Step(time.Second)
	f.reads(0, 5)
	f.run()
	f.run()
	f.wantRunning("paused", 3)
	f.wantCondition("paused", v1alpha1.ConditionPaused, "True ScaledJobPaused", "")
	f.wantCondition("paused", v1alpha1.ConditionReady, "True ScaledJobReady", "paused")
	if said := f.said(); len(said) != 2 || !strings.HasPrefix(said[0], "Normal ScaledJobPaused") || !strings.HasPrefix(said[1], "Normal KEDAScalersStopped") {
		t.Errorf("events %q", said)
	}
	pause("false")
	f.run()
	f.wantRunning("goes on", 5)
	f.wantCondition("goes on", v1alpha1.ConditionPaused, "False ScaledJobUnpaused", "")
	f.wantSaid("goes on", "Normal ScaledJobUnpaused", "Normal KEDAScalersStarted started watching rabbitmq")
}

func TestKEDAsFinalizerHoldsNothing(t *testing.T) {
	f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) { sj.Finalizers = []string{v1alpha1.Finalizer} }))
	f.run()
	if have := f.object().Finalizers; len(have) > 0 {
		t.Errorf("finalizers %q", have)
	}
}

func TestDeletion(t *testing.T) {
	f := newFixture(t, newObject())
	f.reads(0, 2)
	f.run()
	f.said()
	if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
		t.Fatal(err)
	}
	f.run()
	if err := f.cluster.Direct.Get(t.Context(), key, &v1alpha1.ScaledJob{}); !apierrors.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
	f.wantSaid("deleted", "Warning ScaledJobDeleted", "Normal KEDAScalersStopped stopped watching rabbitmq")
	f.run()
	if len(f.objects) != 0 {
		t.Error("something is remembered")
	}
	for _, job := range f.jobs() { // for the garbage collector
		if !owned(&job, "sj-1") {
			t.Errorf("%s has no owner", job.Name)
		}
	}
}

func TestSourcesThatFail(t *testing.T) {
	two := func(sj *v1alpha1.ScaledJob) {
		sj.Spec.Triggers = append(sj.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "kafka"})
	}
	f := newFixture(t, newObject(two))
	f.reads(0, 3)
	f.fails(1, "connection refused")
	f.run()
	f.wantRunning("one of two fails", 3)
	f.wantCondition("one of two fails", v1alpha1.ConditionReady, "Unknown PartialTriggerError", "trigger 1 (kafka): connection refused")
	f.wantSaid("one of two fails", "Warning KEDAScalerFailed trigger 1 (kafka): connection refused")
	f.clock.Step(time.Minute)
	f.fails(0, "broker is down")
	f.fails(1, "connection refused")
	f.run()
	f.wantRunning("both fail", 3)
	f.wantCondition("both fail", v1alpha1.ConditionReady, "False TriggerError", "trigger 0 (rabbitmq): broker is down")
	f.clock.Step(time.Minute)
	f.reads(0, 4)
	f.reads(1, 0)
	f.run()
	f.wantRunning("well again", 4)
	f.wantCondition("well again", v1alpha1.ConditionReady, "True ScaledJobReady", "")
	if !maps.Equal(f.told.failed, map[int]int{0: 1, 1: 3}) { // one for each interval that it fails
		t.Errorf("failures counted by trigger: %v", f.told.failed)
	}
	if f.told.decided != 2 {
		t.Errorf("%d decisions on readings were measured, want 2", f.told.decided)
	}
	f.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.Triggers = sj.Spec.Triggers[:1] })
	f.run()
	if !maps.Equal(f.told.forgotten, map[int]int{1: 1}) {
		t.Errorf("forgotten by trigger: %v", f.told.forgotten)
	}
}

// A trigger whose surroundings changed is yet to be read when its reading is too
// old, and its silence counts from the change on.
func TestAReplacedSubscriptionIsNoFailure(t *testing.T) {
	f := newFixture(t, newObject())
	f.reads(0, 0)
	f.run()
	f.clock.Step(time.Minute)
	state := f.states[0]
	state.Earlier, state.Since = true, f.clock.Now()
	f.states[0] = state
	f.clock.Step(15 * time.Second) // heard of 75 s ago
	f.run()
	if n := f.told.failed[0]; n != 0 {
		t.Errorf("counted %d when the reading is too old", n)
	}
	f.clock.Step(time.Minute)
	f.run()
	if n := f.told.failed[0]; n != 1 {
		t.Errorf("never answered, but counted %d", n)
	}
}

func TestWarningsAreToldOnceAndStayInReady(t *testing.T) {
	f := newFixture(t, newObject())
	odd := func() {
		f.clock.Step(pace)
		f.reads(0, 0)
		state := f.states[0]
		state.Warnings, state.Note = []string{"queueNme: unknown, queueName was meant?"}, "polled: no permission to listen"
		f.states[0] = state
		f.run()
	}
	odd()
	const want = "trigger 0 (rabbitmq): queueNme: unknown, queueName was meant?; trigger 0 (rabbitmq): polled: no permission to listen"
	f.wantCondition("odd", v1alpha1.ConditionReady, "True ScaledJobReady", "ScaledJob is ready for scaling; "+want)
	f.wantSaid("odd", "Normal KEDAScalerInfo "+want)
	odd()
	if said := f.said(); len(said) != 0 {
		t.Errorf("told again: %q", said)
	}
	f.clock.Step(pace)
	f.reads(0, 0)
	f.run()
	f.wantCondition("mended", v1alpha1.ConditionReady, "True ScaledJobReady", "")
	if c, _ := f.object().Status.Conditions.Get(v1alpha1.ConditionReady); c.Message != "ScaledJob is ready for scaling" {
		t.Errorf("Ready %+v", c)
	}
}

func TestATriggerThatNeverAnsweredIsNotWatched(t *testing.T) {
	f := newFixture(t, newObject())
	f.states[0] = federation.State{Generation: 1, Unreachable: errors.New("Service scaler-rabbitmq not found")}
	f.run()
	f.clock.Step(time.Minute)
	f.run()
	f.wantCondition("nobody to ask", v1alpha1.ConditionReady, "False TriggerError", "Service scaler-rabbitmq not found")
	if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
		t.Fatal(err)
	}
	f.run()
	for _, event := range f.said() {
		if strings.Contains(event, "KEDAScalersSt") {
			t.Errorf("event %q", event)
		}
	}
}

func TestNoDataStartsNothing(t *testing.T) {
	f := newFixture(t, newObject())
	// The last value stands in for the answer, by the trigger's rule.
	f.reads(0, 5)
	held := f.states[0]
	held.Outcome = scaling.NoData
	f.states[0] = held
	f.run()
	f.clock.Step(3 * time.Second)
	f.run()
	f.wantRunning("no data", 0)
	f.wantCondition("no data", v1alpha1.ConditionActive, "False ScalerNotActive", "trigger 0 (rabbitmq) has no data")
	if f.told.empty[0] != 1 {
		t.Errorf("%d readings without data were counted, want 1", f.told.empty[0])
	}
}

// TestNamesThatChangeLeaveNoSeries has a family that calls its metric otherwise at
// each reading.
func TestNamesThatChangeLeaveNoSeries(t *testing.T) {
	f := newFixture(t, newObject())
	errs, figures := metrics.NewErrors(nil), metrics.NewFigures(nil)
	f.Measures = metrics.Jobs{Errors: errs, Figures: figures}
	sj := f.object()
	for i := range 1000 {
		f.clock.Step(30 * time.Second)
		f.states[0] = federation.State{
			Generation: sj.Generation, Outcome: scaling.NoData, ObservedAt: f.clock.Now(), HeardAt: f.clock.Now(),
			Specs: []federation.MetricSpec{{Name: fmt.Sprint("m", i), Target: 5}},
		}
		m := f.memory(sj) // a decision, without what is written
		read, _, _ := f.readings(sj, m)
		decision := scaling.DecideJobs(scaling.JobsInput{Object: sj, Now: f.clock.Now(), Triggers: readings.Triggers(read)})
		f.keep(sj, m, read, decision)
	}
	f.run()
	for name, of := range map[string]prometheus.Collector{
		"keda_scaler_detail_errors_total": errs, "keda_scaler_empty_upstream_responses_total": figures,
	} {
		if n := testutil.CollectAndCount(of, name); n != 1 {
			t.Errorf("%s: %d series of one trigger", name, n)
		}
	}
	if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
		t.Fatal(err)
	}
	f.run()
	if n := testutil.CollectAndCount(errs) + testutil.CollectAndCount(figures, "keda_scaler_empty_upstream_responses_total"); n != 0 {
		t.Errorf("%d series of an object that is gone", n)
	}
}

func TestFallbackKeepsJobsRunning(t *testing.T) {
	f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) {
		sj.Spec.Fallback = &v1alpha1.JobFallback{FailureThreshold: 2, Replicas: 4}
	}))
	for i := range 3 {
		f.wantRunning(fmt.Sprintf("after %d failures", i), 0)
		f.fails(0, "broker is down")
		f.run()
		f.clock.Step(30 * time.Second)
	}
	f.wantRunning("one failure more than is tolerated", 4)
	f.wantCondition("fallback", v1alpha1.ConditionFallback, "True FallbackExists", "")
	f.reads(0, 1)
	f.run()
	f.wantCondition("well again", v1alpha1.ConditionFallback, "False NoFallbackFound", "")
	if h := f.object().Status.Health["s0-queue"]; h.NumberOfFailures == nil || *h.NumberOfFailures != 0 {
		t.Errorf("health %+v", h)
	}
}

func TestJobsThatKubernetesDeletedInTheMeantime(t *testing.T) {
	f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTargetRef.TTLSecondsAfterFinished = ptr.To[int32](0) }))
	f.reads(0, 3)
	f.clock.Step(5 * time.Second) // three Jobs ran and went, before this process
	f.run()
	f.wantRunning("a reading from before", 0)
	f.reads(0, 3)
	f.run()
	f.wantRunning("a reading of its own time", 3)
}

func TestPendingJobsAreToldByTheirPods(t *testing.T) {
	f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) { sj.Spec.ScalingStrategy.Strategy = v1alpha1.StrategyAccurate }))
	watched := 0
	f.WatchPods = func(context.Context) error { watched++; return nil }
	f.reads(0, 4)
	f.run()
	f.clock.Step(time.Second)
	f.reads(0, 4) // the Jobs have not taken their messages yet
	f.run()
	f.wantRunning("all pending", 4)
	if watched == 0 {
		t.Error("Pods are not watched")
	}
	for _, job := range f.jobs() {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: key.Namespace, Name: job.Name + "-pod", Labels: map[string]string{v1alpha1.LabelScaledJobName: key.Name},
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&job, batchv1.SchemeGroupVersion.WithKind("Job"))},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
		if err := f.cluster.Direct.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	f.run()
	f.wantRunning("the same reading", 4)
	f.clock.Step(time.Second)
	f.reads(0, 2) // new ones: those at work are locked
	f.run()
	f.wantRunning("two more", 6)
	if got := f.object().Status.Jobs; got.Pending != 2 || got.Running != 6 {
		t.Errorf("the arithmetic is %+v", got)
	}
}

// lossy is an API server whose every third answer to a creation is lost.
type lossy struct {
	client.Client
	calls *atomic.Int32
}

func (l lossy) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	err := l.Client.Create(ctx, o, opts...)
	if l.calls.Add(1)%3 == 0 {
		return context.DeadlineExceeded
	}
	return err
}

// archive is an API server with Jobs that ended long ago, and its cache. It
// answers no other question about them than a list from that cache.
type archive struct {
	client.Client

	mu      sync.Mutex
	jobs    map[string]batchv1.Job
	deletes int
}

func (a *archive) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	jobs, ok := list.(*batchv1.JobList)
	if !ok {
		return a.Client.List(ctx, list, opts...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	jobs.Items = slices.Collect(maps.Values(a.jobs))
	return nil
}

func (a *archive) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deletes++
	delete(a.jobs, o.GetName())
	return nil
}

// crowded is a cache that has no room for ScaledJobs.
type crowded struct{ client.Client }

func (c crowded) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	err := c.Client.Get(ctx, key, o, options...)
	if sj, ok := o.(*v1alpha1.ScaledJob); ok && err == nil {
		_, err = kept.Transform(kept.New(0, 0), "ScaledJob", func(*v1alpha1.ScaledJob) {}, (*v1alpha1.ScaledJob).Stub)(sj)
	}
	return err
}

// An object that there is no room for in memory starts no Jobs and says so. It is
// read again while there may be room, and goes on then.
func TestAnObjectWithoutRoomStartsNothing(t *testing.T) {
	f := newFixture(t, newObject())
	f.Client = crowded{f.cluster.Client}
	f.Room = func(string) bool { return true }
	f.reads(0, 3)
	said := map[string]bool{}
	for range 12 {
		f.run()
		ready, _ := f.object().Status.Conditions.Get(v1alpha1.ConditionReady)
		if ready.Status != metav1.ConditionFalse || !strings.Contains(ready.Message, "there is no room for") {
			t.Fatalf("ready is %+v", ready)
		}
		said[ready.Message] = true
		f.clock.Step(time.Minute)
	}
	if len(said) < 2 || len(said) > 4 {
		t.Errorf("in 12 minutes it is written %d times, for it to be read again", len(said))
	}
	if jobs := f.jobs(); len(jobs) != 0 {
		t.Errorf("%d Jobs", len(jobs))
	}
	f.Client = f.cluster.Client
	f.reads(0, 3)
	f.run()
	if jobs := f.jobs(); len(jobs) != 3 {
		t.Errorf("%d Jobs once there is room", len(jobs))
	}
}

func unbounded() *kept.Budget { return kept.New(kept.Unbounded, kept.Unbounded) }

// full is a cache whose budget has no room for Jobs or Pods while it is so.
type full struct {
	client.Client
	of   string
	none bool
}

func (c *full) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := c.Client.List(ctx, list, opts...)
	strip := Stripped(unbounded())
	if c.none && strings.HasSuffix(fmt.Sprintf("%T", list), c.of+"List") {
		strip = Stripped(kept.New(0, 0))
	}
	switch list := list.(type) {
	case *batchv1.JobList:
		for i := range list.Items {
			_, err = strip(&list.Items[i])
		}
	case *corev1.PodList:
		for i := range list.Items {
			_, err = strip(&list.Items[i])
		}
	}
	return err
}

// Jobs and Pods that there is no room for are unknown, not none: their ScaledJob
// starts nothing and says so. They are read once there is room.
func TestJobsWithoutRoomAreUnknown(t *testing.T) {
	for _, of := range []string{"Job", "Pod"} {
		t.Run(of, func(t *testing.T) {
			f := newFixture(t, newObject(func(sj *v1alpha1.ScaledJob) { sj.Spec.ScalingStrategy.Strategy = "eager" }))
			cache, room := &full{Client: f.cluster.Client, of: of}, false
			f.Client, f.Strip, f.Room = cache, Stripped(unbounded()), func(string) bool { return room }
			f.reads(0, 3)
			f.run()
			f.wantRunning("at first", 3)
			for i, job := range f.jobs() {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
					Namespace: key.Namespace, Name: job.Name, UID: types.UID(fmt.Sprint("pod-", i)), Labels: map[string]string{v1alpha1.LabelScaledJobName: key.Name},
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&job, batchv1.SchemeGroupVersion.WithKind("Job"))},
				}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
				if err := f.cluster.Direct.Create(t.Context(), pod); err != nil {
					t.Fatal(err)
				}
			}
			cache.none = true
			f.clock.Step(10 * time.Second)
			f.reads(0, 9)
			f.run()
			f.wantRunning("while there is no room", 3)
			f.wantCondition("while there is no room", v1alpha1.ConditionReady, "False ScaledJobCheckFailed", "3 of its "+of+"s are not known, and none is started")
			if f.due.After(f.clock.Now().Add(10 * time.Second)) {
				t.Errorf("it is looked at again at %v", f.due)
			}
			room = true
			f.clock.Step(10 * time.Second)
			f.reads(0, 9)
			f.run()
			f.runOn()
			if n := len(f.running()); n <= 3 {
				t.Errorf("%d Jobs once there is room", n)
			}
			f.wantCondition("once there is room", v1alpha1.ConditionReady, "True ScaledJobReady", "")
		})
	}
}

// That there is no room for an object for a while changes nothing of what is known
// of its triggers and Jobs, whenever it is.
func TestAnObjectGoesOnWhenThereIsRoomAgain(t *testing.T) {
	f := newFixture(t, newObject())
	room := func(there bool) {
		t.Helper()
		if f.Client = f.cluster.Client; !there {
			f.Client = crowded{f.cluster.Client}
		}
		f.run()
	}
	f.reads(0, 3)
	room(true)
	f.edit(func(sj *v1alpha1.ScaledJob) {
		sj.Spec.Fallback = &v1alpha1.JobFallback{FailureThreshold: 3, Replicas: 1}
	})
	f.reads(0, 3)
	for _, there := range []bool{false, true, false, true} {
		room(there)
	}
	if jobs := f.running(); len(jobs) != 3 {
		t.Errorf("%d Jobs for a queue of 3", len(jobs))
	}
	f.clock.Step(time.Minute)
	f.fails(0, "refused")
	room(true)
	f.restart() // another process, which sees the stub first
	f.reads(0, 0)
	room(false)
	sj := f.object()
	if m := f.memory(sj); len(m.triggers) != 1 || m.triggers[0].Failures.Count != 1 {
		t.Errorf("of its triggers is known %+v", m.triggers)
	}
	// Who only watches goes the same way.
	var thought Thought
	f.reads(0, 3)
	for i, cut := range []bool{true, false, true, false} {
		if sj.Generation = int64(2 + i/2); cut {
			sj = sj.DeepCopy()
			sj.Stub("no room")
		} else {
			sj.Spec = f.object().Spec
		}
		if d, _, ok := thought.Decide(sj, nil, f.States, f.clock.Now()); !ok || !cut && d.Create != 3 {
			t.Errorf("stub %v: decided %+v", cut, d)
		}
	}
}
