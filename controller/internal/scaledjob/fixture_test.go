package scaledjob

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var began = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var key = types.NamespacedName{Namespace: "shop", Name: "batch"}

// fixture is a Reconciler over one ScaledJob on a queue.
type fixture struct {
	*Reconciler
	t       *testing.T
	cluster *testcluster.Cluster
	clock   *clocktesting.FakeClock
	events  *events.FakeRecorder
	states  map[int]federation.State
	told    *measured
	// due is when the last reconcile wants the next, zero for never.
	due time.Time
}

func newObject(change ...func(*v1alpha1.ScaledJob)) *v1alpha1.ScaledJob {
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "sj-1", Generation: 1},
		Spec: v1alpha1.ScaledJobSpec{
			JobTargetRef: &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "worker", Image: "worker"}},
			}}},
			Triggers: []v1alpha1.ScaleTrigger{{Type: "rabbitmq", Metadata: map[string]string{"queueName": "orders"}}},
		},
	}
	for _, c := range change {
		c(sj)
	}
	return sj
}

func nameOf(o client.Object) []string { return []string{o.GetName()} }

// listed are Jobs and Pods as the client of a Reconciler lists them.
type listed struct{ *Reconciler }

func (l listed) Jobs(ctx context.Context, of types.NamespacedName) ([]*batchv1.Job, error) {
	var list batchv1.JobList
	err := l.Client.List(ctx, &list, client.InNamespace(of.Namespace), client.MatchingLabels{v1alpha1.LabelScaledJobName: of.Name})
	return pointers(list.Items), err
}

func (l listed) Pods(ctx context.Context, of types.NamespacedName) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := l.Client.List(ctx, &list, client.InNamespace(of.Namespace), client.MatchingLabels{v1alpha1.LabelScaledJobName: of.Name})
	return pointers(list.Items), err
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

// measured is what was told for the operator, by trigger.
type measured struct {
	failed, empty, forgotten map[int]int
	decided, failing         int
}

func (m *measured) Failed(_ *v1alpha1.ScaledJob, trigger int, _ []string, n int32) {
	m.failed[trigger] += int(n)
}
func (m *measured) Read(_ *v1alpha1.ScaledJob, trigger int, _ []string, empty bool) {
	if empty {
		m.empty[trigger]++
	}
}
func (m *measured) Decided(*v1alpha1.ScaledJob, time.Duration)        { m.decided++ }
func (m *measured) Ended(_ *v1alpha1.ScaledJob, failed int)           { m.failing = failed }
func (m *measured) ForgetTrigger(_ types.NamespacedName, trigger int) { m.forgotten[trigger]++ }
func (m *measured) Forget(types.NamespacedName)                       { m.forgotten[-1]++ }

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{
		t: t, clock: clocktesting.NewFakeClock(began), events: events.NewFakeRecorder(100), states: map[int]federation.State{},
		cluster: testcluster.With(t, []testcluster.Index{{Of: &corev1.Pod{}, Field: byName, Keys: nameOf}}, objects...),
	}
	f.told = &measured{failed: map[int]int{}, empty: map[int]int{}, forgotten: map[int]int{}}
	f.restart()
	return f
}

// restart replaces the Reconciler by one that remembers nothing.
func (f *fixture) restart() {
	f.Reconciler = &Reconciler{
		Client: f.cluster.Client, Direct: f.cluster.Direct, Events: f.events, Version: "1.2.3", Now: f.clock.Now, Measures: f.told,
		States: func(id federation.ID) (federation.State, bool) {
			s, ok := f.states[id.Index]
			return s, ok && id.Kind == "ScaledJob" && id.Name == key.Name
		},
		WatchPods: func(context.Context) error { return nil },
	}
	f.Shown = listed{f.Reconciler}
}

// reads is a reading of a queue, made now.
func (f *fixture) reads(index int, length float64) {
	now := f.clock.Now()
	f.states[index] = federation.State{
		Generation: f.object().Generation, Outcome: scaling.Value, ObservedAt: now, HeardAt: now,
		Specs:  []federation.MetricSpec{{Name: "queue", Target: 1}},
		Values: []federation.Value{{Metric: "queue", Value: length, Active: length > 0}},
	}
}

// fails is a source that does not answer.
func (f *fixture) fails(index int, message string) {
	f.states[index] = federation.State{
		Generation: f.object().Generation, Outcome: scaling.Failed, Err: errors.New(message), HeardAt: f.clock.Now(),
		Specs: []federation.MetricSpec{{Name: "queue", Target: 1}},
	}
}

// run reconciles; a millisecond passes before and after.
func (f *fixture) run() {
	f.t.Helper()
	if err := f.try(); err != nil {
		f.t.Fatal(err)
	}
}

// runOn runs until all Jobs are created that one pass had no time for.
func (f *fixture) runOn() {
	f.t.Helper()
	for f.run(); f.due.Equal(f.clock.Now().Add(nextSlice - time.Millisecond)); {
		f.run()
	}
}

func (f *fixture) try() error {
	f.t.Helper()
	f.clock.Step(time.Millisecond)
	result, err := f.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: key})
	f.due = time.Time{}
	if result.RequeueAfter > 0 {
		f.due = f.clock.Now().Add(result.RequeueAfter)
	}
	f.clock.Step(time.Millisecond)
	return err
}

func (f *fixture) object() *v1alpha1.ScaledJob {
	f.t.Helper()
	sj := &v1alpha1.ScaledJob{}
	if err := f.cluster.Direct.Get(f.t.Context(), key, sj); err != nil {
		f.t.Fatal(err)
	}
	return sj
}

// edit changes the object as a user does; the fake API server keeps no
// generations.
func (f *fixture) edit(change func(*v1alpha1.ScaledJob)) {
	f.t.Helper()
	sj := f.object()
	change(sj)
	sj.Generation++
	if err := f.cluster.Direct.Update(f.t.Context(), sj); err != nil {
		f.t.Fatal(err)
	}
	for i, s := range f.states {
		s.Generation = sj.Generation
		f.states[i] = s
	}
}

// jobs are those there are, by name.
func (f *fixture) jobs() []batchv1.Job {
	f.t.Helper()
	var list batchv1.JobList
	if err := f.cluster.Direct.List(f.t.Context(), &list); err != nil {
		f.t.Fatal(err)
	}
	return list.Items
}

// running are the names of the Jobs that have not ended.
func (f *fixture) running() []string {
	f.t.Helper()
	var names []string
	for _, job := range f.jobs() {
		if !HasEnded(&job) {
			names = append(names, job.Name)
		}
	}
	return names
}

func (f *fixture) wantRunning(what string, n int) {
	f.t.Helper()
	if have := f.running(); len(have) != n {
		f.t.Errorf("%s: %d Jobs run, want %d", what, len(have), n)
	}
}

// end finishes n of the running Jobs, as the controller hears it.
func (f *fixture) end(n int, how batchv1.JobConditionType) {
	f.t.Helper()
	for _, name := range f.running()[:n] {
		job := &batchv1.Job{}
		if err := f.cluster.Direct.Get(f.t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: name}, job); err != nil {
			f.t.Fatal(err)
		}
		at := metav1.NewTime(f.clock.Now().Truncate(time.Second))
		job.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue, LastTransitionTime: at}}
		if err := f.cluster.Direct.Status().Update(f.t.Context(), job); err != nil {
			f.t.Fatal(err)
		}
		f.Ended(key, name)
	}
}

// condition is "<status> <reason>".
func (f *fixture) condition(t v1alpha1.ConditionType) string {
	f.t.Helper()
	c, _ := f.object().Status.Conditions.Get(t)
	return strings.TrimSpace(string(c.Status) + " " + c.Reason)
}

func (f *fixture) wantCondition(what string, t v1alpha1.ConditionType, want, message string) {
	f.t.Helper()
	c, _ := f.object().Status.Conditions.Get(t)
	if f.condition(t) != want || !strings.Contains(c.Message, message) {
		f.t.Errorf("%s: condition %s is %s %q, want %s %q", what, t, f.condition(t), c.Message, want, message)
	}
}

// said are the events since the last call.
func (f *fixture) said() []string {
	var all []string
	for {
		select {
		case e := <-f.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

func (f *fixture) wantSaid(what string, prefixes ...string) {
	f.t.Helper()
	said := f.said()
	for _, p := range prefixes {
		if !slices.ContainsFunc(said, func(e string) bool { return strings.HasPrefix(e, p) }) {
			f.t.Errorf("%s: no event %q in %q", what, p, said)
		}
	}
}
