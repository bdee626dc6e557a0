package subscription

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

// families remembers what is subscribed.
type families map[federation.ID]federation.Trigger

func (f families) Subscribe(t federation.Trigger) bool { f[t.ID] = t; return true }
func (f families) Unsubscribe(id federation.ID)        { delete(f, id) }

// modes are those of the subscribed triggers by index.
func (f families) modes() map[int]federation.Mode {
	modes := map[int]federation.Mode{}
	for id, t := range f {
		modes[id.Index] = t.Mode
	}
	return modes
}

func TestSubscriptionsFollowTheObject(t *testing.T) {
	key := types.NamespacedName{Namespace: "shop", Name: "worker"}
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", Generation: 1},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka"}, {Type: "cpu"}, {Type: "cron"}},
		},
	}
	cluster := testcluster.New(t, "", nil, so, testcluster.Deployment("shop", "worker", ptr.To[int32](3)))
	subscribed := families{}
	r := &Reconciler{
		Client: cluster.Client, Federation: subscribed,
		Targets: &target.Client{Reader: cluster.Client, Direct: cluster.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}},
	}
	want := func(what string, mode federation.Mode, indexes ...int) {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
		wanted := map[int]federation.Mode{}
		for _, i := range indexes {
			wanted[i] = mode
		}
		if have := subscribed.modes(); !maps.Equal(have, wanted) {
			t.Errorf("%s: subscribed %v, want %v", what, have, wanted)
		}
	}
	edit := func(change func(*v1alpha1.ScaledObject)) {
		t.Helper()
		if err := cluster.Direct.Get(t.Context(), key, so); err != nil {
			t.Fatal(err)
		}
		change(so)
		if err := cluster.Direct.Update(t.Context(), so); err != nil {
			t.Fatal(err)
		}
	}
	want("at work", federation.Active, 0, 2)
	edit(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = so.Spec.Triggers[:1] })
	want("a trigger less", federation.Active, 0)
	if err := cluster.Direct.Update(t.Context(), testcluster.Deployment("shop", "worker", ptr.To[int32](0))); err != nil {
		t.Fatal(err)
	}
	want("at rest", federation.Idle, 0)
	edit(func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} })
	want("paused", "")
	edit(func(so *v1alpha1.ScaledObject) { so.Annotations = nil })
	want("unpaused", federation.Idle, 0)
	if err := cluster.Direct.Delete(t.Context(), testcluster.Deployment("shop", "worker", nil)); err != nil {
		t.Fatal(err)
	}
	want("without a target", federation.Idle, 0)
	if err := cluster.Direct.Delete(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	want("deleted", "")
	if n := len(r.book.subscribed); n != 0 {
		t.Errorf("%d objects remembered", n)
	}
}

func TestATargetThatCannotBeReadIsWhatItWas(t *testing.T) {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", Generation: 1},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker", Kind: "Crew", APIVersion: "example.org/v1"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "redis", Metadata: map[string]string{"hostFromEnv": "HOST"}}},
		},
	}
	template := map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "app", "env": []any{map[string]any{"name": "HOST", "value": "cache"}}}},
	}}
	cluster := testcluster.New(t, "", nil, so, testcluster.CrewOf("shop", "worker", 3, template))
	subscribed := families{}
	direct := &unsteady{Reader: cluster.Direct}
	r := &Reconciler{
		Client: cluster.Client, Federation: subscribed,
		Targets: &target.Client{Reader: cluster.Client, Direct: direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}},
	}
	want := func(what string, mode federation.Mode, host bool, again bool) {
		t.Helper()
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "worker"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, trigger := range subscribed {
			if trigger.Mode != mode || (trigger.Env["HOST"].Value != nil) != host || result.RequeueAfter > 0 != again {
				t.Errorf("%s: subscribed with mode %s and variables %v, and again in %v", what, trigger.Mode, trigger.Env, result.RequeueAfter)
			}
		}
	}
	direct.fails = true
	want("never read", federation.Idle, false, true)
	direct.fails = false
	want("read", federation.Active, true, false)
	direct.fails = true
	want("not read this time", federation.Active, true, true)
	direct.fails = false
	if err := cluster.Direct.Delete(t.Context(), testcluster.CrewOf("shop", "worker", 0, nil)); err != nil {
		t.Fatal(err)
	}
	want("gone", federation.Idle, false, false)
	if err := cluster.Direct.Delete(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	want("deleted", federation.Idle, false, false)
	if n := len(r.book.targets); n != 0 {
		t.Errorf("%d targets remembered", n)
	}
}

// unsteady is an API server that now and then does not answer.
type unsteady struct {
	client.Reader
	fails bool
}

func (u *unsteady) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if u.fails {
		return apierrors.NewServerTimeout(schema.GroupResource{Group: "example.org", Resource: "crews"}, "get", 1)
	}
	return u.Reader.Get(ctx, key, o, options...)
}

func TestJobsAreSubscribedWhateverRuns(t *testing.T) {
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch", UID: "1", Generation: 1},
		Spec:       v1alpha1.ScaledJobSpec{Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka"}, {Type: "cpu"}}},
	}
	cluster := testcluster.New(t, "", nil, sj)
	subscribed := families{}
	r := &JobReconciler{Client: cluster.Client, Federation: subscribed}
	reconcileJob := func() {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "batch"}}); err != nil {
			t.Fatal(err)
		}
	}
	reconcileJob()
	if modes := subscribed.modes(); !maps.Equal(modes, map[int]federation.Mode{0: federation.Idle}) {
		t.Errorf("subscribed %v", modes)
	}
	for id := range subscribed {
		if id.Kind != "ScaledJob" {
			t.Errorf("subscribed as %s", id)
		}
	}
	sj.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
	if err := cluster.Direct.Update(t.Context(), sj); err != nil {
		t.Fatal(err)
	}
	reconcileJob()
	if len(subscribed) != 0 {
		t.Errorf("paused, but subscribed %v", subscribed.modes())
	}
	sj.Annotations = nil
	if err := cluster.Direct.Update(t.Context(), sj); err != nil {
		t.Fatal(err)
	}
	reconcileJob()
	if err := cluster.Direct.Delete(t.Context(), sj); err != nil {
		t.Fatal(err)
	}
	reconcileJob()
	if len(subscribed) != 0 || len(r.book.subscribed) != 0 {
		t.Errorf("deleted, but %v is subscribed and %v remembered", subscribed.modes(), r.book.subscribed)
	}
}

// Objects whose targets cannot be read are looked at again in turn: the more there
// are of a namespace, the later each, and others as soon as ever.
func TestManyUnreadTargetsAreLookedAtLater(t *testing.T) {
	var b book
	key := func(namespace string, i int) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}
	}
	var again time.Duration
	const n = 20 * unreadAtOnce
	for range 2 {
		for i := range n {
			again = lookAgain(b.couldNotRead(key("flood", i)))
		}
	}
	if again != n/unreadAtOnce*unreadAgain {
		t.Errorf("one of %d is looked at again after %v", n, again)
	}
	if again := lookAgain(b.couldNotRead(key("shop", 0))); again != unreadAgain {
		t.Errorf("one of another namespace after %v", again)
	}
	for i := range n {
		if i%2 == 0 {
			b.read(key("flood", i), v1alpha1.ScaleTarget{})
		} else {
			b.enter(families{}, key("flood", i), nil) // it is gone
		}
	}
	if len(b.unread) != 1 {
		t.Errorf("%d namespaces are remembered", len(b.unread))
	}
}

// A namespace has more workloads than are kept. Triggers that name a variable of one
// that there was no room for say so, and are served once others are gone.
func TestWorkloadsThatThereWasNoRoomFor(t *testing.T) {
	workloads := federation.NewWorkloads()
	big := func(name string, bytes int) *appsv1.Deployment {
		d := testcluster.Deployment("shop", name, ptr.To[int32](1))
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "QUEUE", Value: "orders"}, {Name: "OTHER", Value: strings.Repeat("x", bytes)}}}}
		return d
	}
	others := map[int]*appsv1.Deployment{}
	for i := range federation.MostOfWorkloads / (900 << 10) {
		others[i] = big(fmt.Sprint("other-", i), 900<<10)
		if _, err := workloads.Strip(others[i]); err != nil || federation.Cut(others[i]) != nil {
			t.Fatal(err, federation.Cut(others[i]))
		}
	}
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", Generation: 1},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "redis", Metadata: map[string]string{"listNameFromEnv": "QUEUE"}}},
		},
	}
	whole := testcluster.New(t, "", nil, big("worker", 900<<10))
	cut := big("worker", 900<<10)
	if _, err := workloads.Strip(cut); err != nil || !federation.NoRoom(cut) {
		t.Fatalf("there was room: %v", err)
	}
	cluster := testcluster.New(t, "", nil, so, cut)
	subscribed := families{}
	r := &Reconciler{
		Client: cluster.Client, Federation: subscribed,
		Targets: &target.Client{
			Reader: cluster.Client, Direct: whole.Direct, Workloads: workloads,
			Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now},
		},
	}
	reconciled := func() (federation.Trigger, time.Duration) {
		t.Helper()
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "worker"}})
		if err != nil || len(subscribed) != 1 {
			t.Fatalf("%d triggers, %v", len(subscribed), err)
		}
		for _, trigger := range subscribed {
			return trigger, result.RequeueAfter
		}
		return federation.Trigger{}, 0
	}
	trigger, again := reconciled()
	if trigger.Unread == nil || !strings.Contains(trigger.Unread.Error(), "namespace shop take 63 MiB of the 64 MiB") || again != unreadAgain {
		t.Errorf("looked at again after %v: %v", again, trigger.Unread)
	}
	runtime.KeepAlive(others)
	clear(others)
	late := time.After(30 * time.Second)
	for again != 0 {
		runtime.GC()
		select {
		case <-late:
			t.Fatalf("there is no room yet: %v", trigger.Unread)
		case <-time.After(time.Millisecond):
		}
		trigger, again = reconciled()
	}
	if trigger.Unread != nil {
		t.Errorf("once there is room: %v", trigger.Unread)
	}
}

// sharing is a cache whose objects nobody copies, as that of workloads is.
type sharing struct {
	client.Client
	deployment *appsv1.Deployment // nil for none
}

func (s *sharing) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	into, ok := o.(*appsv1.Deployment)
	switch {
	case !ok:
		return s.Client.Get(ctx, key, o, options...)
	case s.deployment == nil:
		return apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "deployments"}, key.Name)
	}
	*into = *s.deployment
	return nil
}

// A target that was read, and is gone, of another name or unreadable by now, is in
// memory no longer, and what it took is given back.
func TestNothingIsKeptOfTargets(t *testing.T) {
	for name, next := range map[string]func(*v1alpha1.ScaledObject){
		"gone":          func(*v1alpha1.ScaledObject) {},
		"another kind":  func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Kind = "Nothing" },
		"another group": func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.APIVersion = "nobody.example/v1" },
	} {
		t.Run(name, func(t *testing.T) {
			so := &v1alpha1.ScaledObject{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", Generation: 1},
				Spec: v1alpha1.ScaledObjectSpec{
					ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
					Triggers:       []v1alpha1.ScaleTrigger{{Type: "redis", Metadata: map[string]string{"listNameFromEnv": "QUEUE"}}},
				},
			}
			budget := kept.New(federation.MostOfWorkloads, kept.Unbounded)
			deployment := testcluster.Deployment("shop", "worker", ptr.To[int32](1))
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "QUEUE", Value: "orders"}}}}
			if _, err := federation.WorkloadsIn(budget).Strip(deployment); err != nil || budget.Used("shop") == 0 {
				t.Fatalf("%d bytes are counted, %v", budget.Used("shop"), err)
			}
			cluster := testcluster.New(t, "", nil, so)
			cached := &sharing{Client: cluster.Client, deployment: deployment}
			r := &Reconciler{
				Client: cluster.Client, Federation: families{},
				Targets: &target.Client{Reader: cached, Direct: cluster.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}},
			}
			reconciled := func() {
				t.Helper()
				if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(so)}); err != nil {
					t.Fatal(err)
				}
			}
			reconciled()
			cached.deployment = nil
			next(so)
			if err := cluster.Direct.Update(t.Context(), so); err != nil {
				t.Fatal(err)
			}
			reconciled()
			late := time.After(30 * time.Second)
			for budget.Used("shop") != 0 {
				runtime.GC()
				select {
				case <-late:
					t.Fatalf("%d bytes of a target that nobody needs are kept", budget.Used("shop"))
				case <-time.After(time.Millisecond):
				}
			}
			runtime.KeepAlive(r)
		})
	}
}

// full takes so many triggers, and no more.
type full struct {
	families
	most int
}

func (f *full) Subscribe(t federation.Trigger) bool {
	_, there := f.families[t.ID]
	return (there || len(f.families) < f.most) && f.families.Subscribe(t)
}

// Triggers that are not taken are subscribed again until they are.
func TestTriggersThatAreNotTakenAreSubscribedAgain(t *testing.T) {
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch", UID: "1", Generation: 1},
		Spec:       v1alpha1.ScaledJobSpec{Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka"}, {Type: "cron"}, {Type: "redis"}}},
	}
	taken := &full{families{}, 0}
	r := &JobReconciler{Client: testcluster.New(t, "", nil, sj).Client, Federation: taken}
	for _, most := range []int{0, 2, 3} {
		taken.most = most
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "batch"}})
		if err != nil || len(taken.families) != most || (result.RequeueAfter > 0) != (most < 3) {
			t.Errorf("room for %d: %d subscribed, again in %v, %v", most, len(taken.families), result.RequeueAfter, err)
		}
		if n := len(r.book.refused); n > 0 != (most < 3) {
			t.Errorf("room for %d: %d namespaces are looked at again", most, n)
		}
	}
}

// A trigger whose variables there is no room for tells none, says why, and is looked
// at again.
func TestVariablesWithoutRoom(t *testing.T) {
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch", UID: "1", Generation: 1}}
	sj.Spec.Triggers = []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topicFromEnv": "TOPIC"}}}
	sj.Spec.JobTargetRef = &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Env: []corev1.EnvVar{{Name: "TOPIC", Value: "orders"}}}},
	}}}
	cluster := testcluster.New(t, "", nil, sj)
	subscribed := families{}
	r := &JobReconciler{Client: cluster.Client, Federation: subscribed}
	for _, room := range []bool{true, false, true} {
		if r.Told = kept.New(0, 0); room {
			r.Told = kept.New(kept.Unbounded, kept.Unbounded)
		}
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "batch"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, trigger := range subscribed {
			if told := trigger.Env["TOPIC"].Value != nil; told != room || (trigger.Unread == nil) != room || (result.RequeueAfter == 0) != room {
				t.Errorf("room %v: it tells %v, says %v, and is looked at again in %v", room, trigger.Env, trigger.Unread, result.RequeueAfter)
			}
		}
	}
}
