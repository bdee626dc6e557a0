package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var key = types.NamespacedName{Namespace: "shop", Name: "worker"}

// fixture is a loop over one ScaledObject with one kafka trigger, target 5.
type fixture struct {
	*Loop
	t       *testing.T
	cluster *testcluster.Cluster
	clock   *clocktesting.FakeClock
	events  *events.FakeRecorder
	states  map[int]federation.State
	errors  counts
}

// counts are failures by "<index> <metric>".
type counts map[string]int32

func (c counts) Failed(_ *v1alpha1.ScaledObject, index int, metrics []string, n int32) {
	if n > 0 {
		c[fmt.Sprint(index, " ", strings.Join(metrics, ","))] += n
	}
}

func (c counts) ForgetTrigger(_ types.NamespacedName, index int) {
	for k := range c {
		if strings.HasPrefix(k, fmt.Sprint(index, " ")) {
			delete(c, k)
		}
	}
}

func (c counts) Forget(types.NamespacedName) { clear(c) }

func newFixture(t *testing.T, replicas int32, change func(*v1alpha1.ScaledObject)) *fixture {
	t.Helper()
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, UID: "1", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour)),
		},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}},
		},
	}
	if change != nil {
		change(so)
	}
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(start), states: map[int]federation.State{}, events: events.NewFakeRecorder(1000), errors: counts{}}
	f.cluster = testcluster.New(t, "", nil, so, testcluster.Deployment(key.Namespace, "worker", &replicas))
	f.Loop = f.process()
	return f
}

// process is a controller that has just begun to lead.
func (f *fixture) process() *Loop {
	f.t.Helper()
	writer := &status.Writer{Client: f.cluster.Client, Events: f.events, Now: f.clock.Now}
	l := &Loop{
		Client:  f.cluster.Client,
		Targets: &target.Client{Reader: f.cluster.Client, Direct: f.cluster.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}},
		Status:  writer, Errors: f.errors, Now: f.clock.Now,
		States: func(id federation.ID) (federation.State, bool) {
			s, ok := f.states[id.Index]
			return s, ok
		},
	}
	// The reconciler has been here, so that the status is written.
	if _, err := writer.Reconciled(f.t.Context(), f.object(), status.Reconciled{}); err != nil {
		f.t.Fatal(err)
	}
	f.cluster.Writes()
	return l
}

// says is an observation of now: value messages behind trigger 0.
func (f *fixture) says(value float64) { f.saysOf(0, value) }

func (f *fixture) saysOf(index int, value float64) {
	f.states[index] = federation.State{
		Generation: f.object().Generation, HaveSpecs: true, Specs: []federation.MetricSpec{{Name: "m", Target: 5}},
		Outcome: scaling.Value, Values: []federation.Value{{Metric: "m", Value: value, Active: value > 0}},
		ObservedAt: f.clock.Now(), HeardAt: f.clock.Now(), Activations: f.states[index].Activations,
	}
}

func (f *fixture) state(change func(*federation.State)) {
	s := f.states[0]
	change(&s)
	f.states[0] = s
}

// decide runs the loop once and returns when it wants to run again.
func (f *fixture) decide() time.Duration {
	f.t.Helper()
	result, err := f.tryDecide()
	if err != nil {
		f.t.Fatal(err)
	}
	return result.RequeueAfter
}

// tryDecide runs the loop once, and again at once when it has something to tell.
func (f *fixture) tryDecide() (reconcile.Result, error) { return f.tryDecideIn(f.t.Context()) }

func (f *fixture) tryDecideIn(ctx context.Context) (reconcile.Result, error) {
	request := reconcile.Request{NamespacedName: key}
	result, err := f.Reconcile(ctx, request)
	if err == nil && result.RequeueAfter == told(true) {
		return f.Reconcile(ctx, request)
	}
	return result, err
}

// scaled expects the numbers that were written since it was last asked.
func (f *fixture) scaled(want ...int32) {
	f.t.Helper()
	var have, wanted []string
	for _, w := range f.cluster.Writes() {
		if strings.HasPrefix(w, "scale ") {
			have = append(have, w)
		}
	}
	for _, n := range want {
		wanted = append(wanted, fmt.Sprint("scale ", n))
	}
	if !slices.Equal(have, wanted) {
		f.t.Errorf("wrote %v, want %v", have, wanted)
	}
}

func (f *fixture) object() *v1alpha1.ScaledObject {
	f.t.Helper()
	so := &v1alpha1.ScaledObject{}
	if err := f.cluster.Direct.Get(f.t.Context(), key, so); err != nil {
		f.t.Fatal(err)
	}
	return so
}

// edit changes the object as a user would.
func (f *fixture) edit(change func(*v1alpha1.ScaledObject)) {
	f.t.Helper()
	so := f.object()
	change(so)
	if err := f.cluster.Direct.Update(f.t.Context(), so); err != nil {
		f.t.Fatal(err)
	}
}

// store changes the status as another process left it.
func (f *fixture) store(change func(*v1alpha1.ScaledObjectStatus)) {
	f.t.Helper()
	so := f.object()
	change(&so.Status)
	if err := f.cluster.Direct.Status().Update(f.t.Context(), so); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) deployment() *appsv1.Deployment {
	f.t.Helper()
	d := &appsv1.Deployment{}
	if err := f.cluster.Direct.Get(f.t.Context(), types.NamespacedName{Namespace: "shop", Name: "worker"}, d); err != nil {
		f.t.Fatal(err)
	}
	return d
}

func (f *fixture) scaleByHand(replicas int32) {
	f.t.Helper()
	d := f.deployment()
	d.Spec.Replicas = &replicas
	if err := f.cluster.Direct.Update(f.t.Context(), d); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) condition(t v1alpha1.ConditionType) v1alpha1.Condition {
	f.t.Helper()
	c, _ := f.object().Status.Conditions.Get(t)
	return c
}

func (f *fixture) sawEvent(reason, text string) {
	f.t.Helper()
	for len(f.events.Events) > 0 {
		if e := <-f.events.Events; strings.Contains(e, " "+reason+" ") && strings.Contains(e, text) {
			return
		}
	}
	f.t.Errorf("no event %s with %q", reason, text)
}

func TestZeroToWorkAndBack(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.says(0)
	f.decide()
	f.scaled()

	f.says(50)
	f.decide()
	if writes := f.cluster.Writes(); !slices.Equal(writes, []string{"scale 10", "update ScaledObject/status"}) {
		t.Errorf("wrote %v: the target is scaled, and then all is told that there is to tell", writes)
	}
	if a := f.object().Status.Activation; a == nil || a.Metric != "s0-m" || a.Replicas != 10 || !a.Time.Time.Equal(start) {
		t.Errorf("activation %+v", a)
	}
	f.sawEvent("KEDAScaleTargetActivated", "Deployment shop/worker from 0 to 10, triggered by s0-m")

	f.says(0)
	if next := f.decide(); next != 40*time.Second+time.Nanosecond { // two samples of 15 s and a read
		t.Errorf("next decision in %v", next)
	}
	if c := f.condition(v1alpha1.ConditionActive); c.Reason != v1alpha1.ReasonScalerCooldown {
		t.Errorf("Active %+v", c)
	}
	f.clock.Step(300 * time.Second)
	f.says(0)
	f.decide()
	f.scaled() // strictly after the cooldown
	f.clock.Step(time.Second)
	f.says(0)
	f.decide()
	f.scaled(0)
	f.sawEvent("KEDAScaleTargetDeactivated", "from 10 to 0, no trigger is active")
	if c := f.condition(v1alpha1.ConditionActive); c.Status != metav1.ConditionFalse {
		t.Errorf("Active %+v", c)
	}
}

// TestAWakeTakesTwoWrites counts what the API server has to do for each object of a
// rush, and for its way back to rest.
func TestAWakeTakesTwoWrites(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.ScaledObject)
		work   float64
		want   string
	}{
		"a jump":        {work: 50, want: "scale 10"},
		"to one":        {work: 1, want: "scale 1"},
		"with policies": {change: func(so *v1alpha1.ScaledObject) { atMost(so, 4) }, work: 50, want: "scale 4"},
		"with a formula": {change: func(so *v1alpha1.ScaledObject) {
			so.Spec.Triggers[0].Name = "lag"
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "lag", Target: "5"}}
		}, work: 50, want: "scale 1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 0, tt.change)
			wrote := func(what string, want ...string) {
				t.Helper()
				if have := f.cluster.Writes(); !slices.Equal(have, want) {
					t.Errorf("%s: wrote %v, want %v", what, have, want)
				}
			}
			f.says(0)
			f.decide()
			f.cluster.Writes()
			f.says(tt.work)
			f.decide()
			wrote("woken", tt.want, "update ScaledObject/status")
			f.decide()
			wrote("nothing new")
			if c := f.condition(v1alpha1.ConditionActive); c.Status != metav1.ConditionTrue {
				t.Errorf("Active %+v", c)
			}
			f.says(0)
			f.decide()
			wrote("cooling down", "update ScaledObject/status")
			f.clock.Step(301 * time.Second)
			f.says(0)
			f.decide()
			wrote("at rest", "scale 0", "update ScaledObject/status")
			if a := f.object().Status.Activation; a != nil {
				t.Errorf("activation %+v at rest", a)
			}
		})
	}
}

func atMost(so *v1alpha1.ScaledObject, pods int32) {
	if so.Spec.Advanced == nil {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{}
	}
	so.Spec.Advanced.HorizontalPodAutoscalerConfig = &v1alpha1.HorizontalPodAutoscalerConfig{
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
			Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: pods, PeriodSeconds: 60}},
		}},
	}
}

// TestARiseIsToldWhateverBecomesOfTheFirstAttempt loses the answer of the write of
// replicas, which was carried out, or the write of the status.
func TestARiseIsToldWhateverBecomesOfTheFirstAttempt(t *testing.T) {
	for name, tt := range map[string]struct{ scale, told error }{
		"status refused":       {told: errors.New("etcd is busy")},
		"status in conflict":   {told: apierrors.NewConflict(schema.GroupResource{Resource: "scaledobjects"}, "orders", errors.New("changed"))},
		"answer of scale lost": {scale: errors.New("connection reset")},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 0, nil)
			f.says(50)
			lost := false
			f.cluster.Fail(func(write string) error {
				switch {
				case lost:
				case tt.scale != nil && strings.HasPrefix(write, "scale "):
					lost = true
					f.scaleByHand(10)
					return tt.scale
				case tt.told != nil && strings.HasSuffix(write, "/status"):
					lost = true
					return tt.told
				}
				return nil
			})
			if _, err := f.tryDecide(); err == nil {
				t.Error("a failed write is not tried again")
			}
			f.decide()
			if a := f.object().Status.Activation; a == nil || a.Replicas != 10 || a.Metric != "s0-m" {
				t.Errorf("activation %+v", a)
			}
		})
	}
}

// TestTheNextLeaderTellsOfARise: one that ended between the replicas and the status
// leaves no record, and the HPA has not looked yet. Nor has the next one a record of
// what is no rise.
func TestTheNextLeaderTellsOfARise(t *testing.T) {
	atZero := autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: v1alpha1.ReasonScalingDisabled}
	scales := autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue}
	for name, tt := range map[string]struct {
		replicas int32
		reason   string
		hpa      autoscalingv2.HorizontalPodAutoscalerCondition
		want     int32
	}{
		"a rise that nobody was told of": {10, v1alpha1.ReasonScalerNotActive, atZero, 10},
		"beside a trigger that fails":    {10, v1alpha1.ReasonUnknownState, atZero, 10},
		"the HPA has looked":             {10, v1alpha1.ReasonScalerNotActive, scales, 0},
		"the status was told":            {10, v1alpha1.ReasonScalerActive, atZero, 0},
		"it rises now, by one":           {0, v1alpha1.ReasonScalerNotActive, atZero, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.replicas, nil)
			hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keda-hpa-worker"}}
			hpa.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{tt.hpa}
			if err := f.cluster.Direct.Create(t.Context(), hpa); err != nil {
				t.Fatal(err)
			}
			f.store(func(s *v1alpha1.ScaledObjectStatus) {
				s.HpaName = "keda-hpa-worker"
				s.Conditions.Set(v1alpha1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: tt.reason})
			})
			f.says(1)
			f.decide()
			a := f.object().Status.Activation
			if tt.want == 0 && a != nil || tt.want == 10 && (a == nil || a.Replicas != 10 || a.Metric != "s0-m") {
				t.Errorf("activation %+v, want %d replicas", a, tt.want)
			}
			if tt.want == 1 && a != nil && a.Replicas != 1 {
				t.Errorf("activation %+v of one replica", a)
			}
		})
	}
}

func TestTheRecordOfARiseEndsWhenItsTargetIsAtRest(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = ptr.To[int32](1) })
	recorded := func(what string, want int32) {
		t.Helper()
		f.decide()
		if a := f.object().Status.Activation; a == nil && want != 0 || a != nil && a.Replicas != want {
			t.Errorf("%s: activation %+v, want %d replicas", what, a, want)
		}
		f.clock.Step(2 * time.Second)
	}
	f.says(185)
	recorded("a large backlog", 37)
	f.says(0)
	recorded("it is done", 0)
	f.says(1)
	recorded("one message", 0)
	f.scaled(37, 0, 1)

	f.says(0)
	recorded("at rest", 0)
	f.says(185)
	recorded("a large backlog", 37)
	f.says(0)
	f.scaleByHand(0)
	recorded("put to rest by somebody else", 0)

	f.says(185)
	f.cluster.Freeze(t, f.object()) // the cache shows no record
	recorded("a large backlog", 37)
	f.says(0)
	recorded("it is done", 0)
}

func TestATargetThatNobodyWatchesIsLookedAtOnEachDecision(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) {
		so.Spec.ScaleTargetRef = v1alpha1.ScaleTarget{Name: "worker", Kind: "Crew", APIVersion: "example.org/v1"}
	})
	crew := testcluster.CrewOf("shop", "worker", 0, nil)
	if err := f.cluster.Direct.Create(t.Context(), crew); err != nil {
		t.Fatal(err)
	}
	asked := 0
	f.Resubscribe = func(object types.NamespacedName) {
		if object != key {
			t.Errorf("asked for %s", object)
		}
		asked++
	}
	wantAsked := func(what string, want int) {
		t.Helper()
		f.decide()
		if asked != want {
			t.Errorf("%s: asked %d times, want %d", what, asked, want)
		}
		asked = 0
	}
	touch := func(size int64) {
		t.Helper()
		if err := f.cluster.Direct.Get(t.Context(), key, crew); err != nil {
			t.Fatal(err)
		}
		crew.Object["spec"] = map[string]any{"size": size}
		crew.SetLabels(map[string]string{"at": fmt.Sprint(f.clock.Now().Unix())})
		if err := f.cluster.Direct.Update(t.Context(), crew); err != nil {
			t.Fatal(err)
		}
	}
	f.says(0)
	wantAsked("first seen", 1)
	wantAsked("as it was", 0)
	f.says(50)
	wantAsked("woken", 1)
	f.scaled(10)
	wantAsked("our own write", 0)
	touch(7)
	wantAsked("changed, just now", 0)
	f.clock.Step(30 * time.Second)
	f.says(50)
	wantAsked("changed, a polling interval later", 1)
	touch(0)
	f.says(0)
	wantAsked("put to rest by hand", 1)
}

func TestConflictDecidesAgain(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.says(50)
	f.cluster.Freeze(t, f.deployment())
	f.scaleByHand(4) // somebody was faster, and the cache does not show it
	if _, err := f.tryDecide(); !apierrors.IsConflict(err) {
		t.Fatalf("error %v, want a conflict", err)
	}
	if n := *f.deployment().Spec.Replicas; n != 4 {
		t.Fatalf("%d replicas: written over a conflict", n)
	}
	for len(f.events.Events) > 0 {
		if e := <-f.events.Events; strings.Contains(e, "ActivationFailed") {
			t.Errorf("event %q: nothing failed", e)
		}
	}
	f.cluster.Thaw()
	f.cluster.Writes()
	f.decide()
	f.scaled() // the old number is not repeated: above zero is the HPA's
}

func TestTheHPAWritesBetweenOurReadAndOurWrite(t *testing.T) {
	tests := map[string]struct {
		from     int32
		work     float64 // while we read
		hpa      int32   // what the HPA wrote meanwhile
		workThen float64 // when we decide again
		want     []int32
	}{
		"up, while we leave zero":                {from: 0, work: 50, hpa: 4, workThen: 50},
		"up, while we go to zero":                {from: 8, hpa: 12, workThen: 60},
		"up, while we go to zero, for no reason": {from: 8, hpa: 12, want: []int32{0}},
		"down, while we go to zero":              {from: 8, hpa: 5, want: []int32{0}},
		"down to where we go":                    {from: 8, hpa: 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.from, nil)
			f.began()
			f.says(tt.work)
			f.cluster.Freeze(t, f.deployment())
			f.scaleByHand(tt.hpa)
			if _, err := f.tryDecide(); !apierrors.IsConflict(err) {
				t.Fatalf("error %v, want a conflict", err)
			}
			if n := *f.deployment().Spec.Replicas; n != tt.hpa {
				t.Fatalf("%d replicas: written over the HPA's %d", n, tt.hpa)
			}
			f.cluster.Thaw()
			f.cluster.Writes()
			f.says(tt.workThen)
			f.decide()
			f.scaled(tt.want...)
		})
	}
}

func TestPulse(t *testing.T) {
	t.Run("activates although it is over", func(t *testing.T) {
		f := newFixture(t, 0, nil)
		f.says(0)
		f.decide()
		f.state(func(s *federation.State) { s.Activations++ })
		f.decide()
		f.scaled(1)
		f.decide()
		f.scaled() // once
		f.clock.Step(301 * time.Second)
		f.says(0)
		f.decide()
		f.scaled(0) // it is carried out, and keeps nothing from going to rest
	})
	t.Run("survives a conflict", func(t *testing.T) {
		f := newFixture(t, 0, nil)
		f.says(0)
		f.decide()
		f.state(func(s *federation.State) { s.Activations++ })
		f.cluster.Fail(func(write string) error {
			if strings.HasPrefix(write, "scale") {
				return testcluster.Conflict("worker")
			}
			return nil
		})
		if _, err := f.tryDecide(); !apierrors.IsConflict(err) {
			t.Fatalf("error %v", err)
		}
		f.cluster.Fail(nil)
		f.decide()
		f.scaled(1)
	})
	t.Run("of a time before is none", func(t *testing.T) {
		f := newFixture(t, 0, nil)
		f.says(0)
		f.state(func(s *federation.State) { s.Activations = 7 })
		f.decide()
		f.scaled()
	})
	t.Run("counting starts again with a subscription", func(t *testing.T) {
		f := newFixture(t, 0, nil)
		f.says(0)
		f.state(func(s *federation.State) { s.Activations = 7 })
		f.decide()
		f.state(func(s *federation.State) { s.Activations = 1 })
		f.decide()
		f.scaled()
		f.state(func(s *federation.State) { s.Activations = 2 })
		f.decide()
		f.scaled(1)
	})
}

func TestWorkThatWasAnnouncedWaitsForATargetThatCannotBeRead(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.says(0)
	f.decide()
	d := f.deployment()
	if err := f.cluster.Direct.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	f.state(func(s *federation.State) { s.Activations++ })
	f.decide()
	if err := f.cluster.Direct.Create(t.Context(), testcluster.Deployment("shop", "worker", ptr.To[int32](0))); err != nil {
		t.Fatal(err)
	}
	f.decide()
	f.scaled(1)
}

func TestAReplacedSubscriptionIsNoFailure(t *testing.T) {
	// running is a healthy object that has been watched for long.
	running := func(t *testing.T, value float64) *fixture {
		f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
			so.Spec.CooldownPeriod = ptr.To[int32](0)
			so.Spec.Fallback = &v1alpha1.Fallback{Replicas: 6} // at the first failure
		})
		f.says(1)
		f.decide()
		f.clock.Step(time.Hour)
		f.says(value)
		return f
	}
	healthy := func(f *fixture, when string) {
		f.t.Helper()
		f.decide()
		f.scaled()
		if c := f.condition(v1alpha1.ConditionFallback); len(f.errors) > 0 || c.Status == metav1.ConditionTrue {
			f.t.Errorf("%s: counted %v, Fallback %+v", when, f.errors, c)
		}
	}
	t.Run("its reading holds until its age runs out, and then its silence counts anew", func(t *testing.T) {
		f := running(t, 0)
		f.state(func(s *federation.State) { s.Earlier, s.Since = true, f.clock.Now() })
		healthy(f, "at once")
		f.clock.Step(30 * time.Second)
		f.state(func(s *federation.State) { s.Since = f.clock.Now() }) // once more
		f.clock.Step(15 * time.Second)                                 // heard of 45 s ago
		healthy(f, "when the reading is too old")
		f.clock.Step(30 * time.Second)
		f.decide()
		if f.errors["0 s0-m"] != 1 {
			t.Errorf("never answered, but counted %v", f.errors)
		}
	})
	t.Run("without a reading it is one to come", func(t *testing.T) {
		f := running(t, 1)
		f.states[0] = federation.State{Generation: 1, Since: f.clock.Now()}
		healthy(f, "at once")
	})
	t.Run("a good answer goes on", func(t *testing.T) {
		f := running(t, 0)
		f.state(func(s *federation.State) { s.Earlier, s.Since = true, f.clock.Now() })
		healthy(f, "at once")
		f.says(0)
		f.decide()
		f.scaled(0)
	})
	t.Run("an instance that is replaced is back before it counts", func(t *testing.T) {
		f := running(t, 1)
		f.state(func(s *federation.State) { s.Unreachable = errors.New("Service scaler-kafka has no ready instance") })
		f.clock.Step(14 * time.Second)
		healthy(f, "while it starts")
		f.clock.Step(time.Second)
		f.decide()
		if f.errors["0 s0-m"] != 1 {
			t.Errorf("gone for an interval, but counted %v", f.errors)
		}
	})
}

func TestAnIntervalThatChangesMakesNoFailure(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) {
		so.Spec.PollingInterval, so.Spec.InitialCooldownPeriod = ptr.To[int32](300), ptr.To[int32](7200)
		so.Spec.Fallback = &v1alpha1.Fallback{Replicas: 6}
	})
	f.says(0) // and no beats, as of a third party
	f.decide()
	f.clock.Step(200 * time.Second)
	f.scaleByHand(2)
	f.cluster.Writes()
	f.decide()
	f.clock.Step(39 * time.Second)
	f.decide()
	f.scaled()
	if len(f.errors) > 0 {
		t.Errorf("woken by something else, and counted %v", f.errors)
	}
	f.clock.Step(2 * time.Second)
	f.decide()
	if f.errors["0 s0-m"] != 1 {
		t.Errorf("not read at its new pace, but counted %v", f.errors)
	}
}

func TestIdlePollingLongerThanThePollingIntervalCountsReadings(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{v1alpha1.AnnotationIdlePollingInterval: "10m"}
		so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 2, Replicas: 6}
	})
	f.says(0)
	f.decide()
	f.clock.Step(10 * time.Minute)
	f.state(func(s *federation.State) {
		s.Outcome, s.Values, s.Err, s.HeardAt = scaling.Failed, nil, errors.New("dial"), f.clock.Now()
	})
	failures := func(want int32) {
		t.Helper()
		f.decide()
		if f.errors["0 s0-m"] != want {
			t.Errorf("counted %v, want %d", f.errors, want)
		}
	}
	failures(1)
	f.clock.Step(9 * time.Minute)
	failures(1) // nobody has read it since
	f.clock.Step(time.Minute)
	failures(2)
	f.clock.Step(9 * time.Minute)
	f.scaleByHand(2)
	failures(2)
	f.clock.Step(29 * time.Second)
	failures(2) // from now on it is read, and counts, more often
	f.clock.Step(time.Second)
	failures(3)
	f.sawEvent("KEDAScalerFailed", "")
}

func TestCacheBehindOurOwnWriteCausesNoSecond(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.says(50)
	f.cluster.Freeze(t, f.deployment())
	f.decide()
	f.scaled(10)
	f.decide()
	f.scaled()
	f.cluster.Thaw()
	f.decide()
	f.scaled()
}

func TestFailedScaleIsTold(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.says(50)
	f.cluster.Fail(func(write string) error {
		if strings.HasPrefix(write, "scale") {
			return apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments/scale"}, "worker", errors.New("no"))
		}
		return nil
	})
	if _, err := f.tryDecide(); !apierrors.IsForbidden(err) {
		t.Fatalf("error %v", err)
	}
	f.sawEvent("KEDAScaleTargetActivationFailed", "forbidden")
}

func TestFallbackOfATriggerThatWasWrongFromTheStart(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) { so.Spec.Fallback = &v1alpha1.Fallback{Replicas: 6} })
	f.store(func(s *v1alpha1.ScaledObjectStatus) { s.ExternalMetricNames = []string{"s0-kafka"} })
	f.states[0] = federation.State{Generation: 1, Rejected: errors.New("kafka: topic: missing")}
	f.cluster.Writes()
	f.decide()
	f.scaled(1) // the rest is the HPA's, which reads this verdict
	if verdicts := f.object().Status.Fallback; len(verdicts) != 1 || verdicts[0].Metric != "s0-kafka" || *verdicts[0].Replicas != 6 {
		t.Errorf("verdicts %+v", verdicts)
	}
}

func TestATriggerThatIsWrongByItselfCostsNoOther(t *testing.T) {
	wrong := map[string]v1alpha1.ScaleTrigger{
		"metricType": {Type: "cron", MetricType: autoscalingv2.UtilizationMetricType},
		"cached":     {Type: "cron", UseCachedMetrics: true},
		"cpu":        {Type: "cpu", Metadata: map[string]string{"type": "Utilization", "value": "60"}},
	}
	for name, trigger := range wrong {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = append(so.Spec.Triggers, trigger) })
			f.says(50)
			f.states[1] = f.states[0]
			f.decide()
			f.scaled(10)
		})
	}
}

func TestUnknownIsNeverZero(t *testing.T) {
	tests := map[string]func(*fixture){
		"not subscribed yet": func(f *fixture) { delete(f.states, 0) },
		"nothing read yet": func(f *fixture) {
			f.state(func(s *federation.State) { s.Outcome, s.Values = scaling.Pending, nil })
		},
		"no data": func(f *fixture) {
			f.state(func(s *federation.State) { s.Outcome, s.Values = scaling.NoData, nil })
		},
		"error": func(f *fixture) {
			f.state(func(s *federation.State) {
				s.Outcome, s.Values, s.Err = scaling.Failed, nil, errors.New("dial")
			})
		},
		"no data that counts as error": func(f *fixture) {
			f.state(func(s *federation.State) {
				s.Outcome, s.Values, s.Err = scaling.NoData, nil, errors.New("no data")
			})
		},
		"rejected": func(f *fixture) {
			f.state(func(s *federation.State) { s.Rejected = errors.New("kafka: topic: missing") })
		},
		"unreachable": func(f *fixture) {
			f.state(func(s *federation.State) { s.Unreachable = errors.New("Service scaler-kafka not found") })
		},
		"a metric without a reading": func(f *fixture) {
			f.state(func(s *federation.State) { s.Specs = append(s.Specs, federation.MetricSpec{Name: "other", Target: 1}) })
		},
		"silent for too long": func(f *fixture) { f.clock.Step(41 * time.Second) },
		"of another generation": func(f *fixture) {
			f.edit(func(so *v1alpha1.ScaledObject) { so.Generation, so.Spec.Triggers[0].Metadata = 2, nil })
		},
		"of a generation not yet in view": func(f *fixture) { f.state(func(s *federation.State) { s.Generation = 2 }) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 3, nil)
			f.began()
			f.says(0)
			change(f)
			f.decide()
			f.scaled()
		})
	}
	t.Run("but empty is", func(t *testing.T) {
		f := newFixture(t, 3, nil)
		f.says(0)
		f.decide()
		f.scaled(0)
	})
}

func TestTakingOver(t *testing.T) {
	t.Run("what was heard before does not lead to zero", func(t *testing.T) {
		f := newFixture(t, 3, nil)
		f.says(0)
		f.clock.Step(time.Second)
		f.Loop = f.process()
		f.decide()
		f.scaled()
		f.state(func(s *federation.State) { s.HeardAt = f.clock.Now() }) // a beat
		f.decide()
		f.scaled(0)
	})
	t.Run("work that was heard of before wakes at once", func(t *testing.T) {
		f := newFixture(t, 0, nil)
		f.says(50)
		f.clock.Step(time.Second)
		f.Loop = f.process()
		f.decide()
		f.scaled(10)
	})
	t.Run("one trigger that was heard of before is no result of a formula", func(t *testing.T) {
		f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) {
			so.Spec.Triggers[0].Name = "lag"
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "lag", Target: "5"}}
		})
		f.says(50)
		f.clock.Step(time.Second)
		f.Loop = f.process()
		f.decide()
		f.scaled()
		f.state(func(s *federation.State) { s.HeardAt = f.clock.Now() })
		f.decide()
		f.scaled(1)
	})
	t.Run("cooldown counts from the stored time and its write period", func(t *testing.T) {
		f := newFixture(t, 3, nil)
		f.store(func(s *v1alpha1.ScaledObjectStatus) {
			s.LastActiveTime = ptr.To(metav1.NewTime(start.Add(-4 * time.Minute)))
			s.Conditions.Set(v1alpha1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue})
		})
		f.says(0)
		f.clock.Step(119 * time.Second) // 5:59 since what is stored
		f.says(0)
		f.decide()
		f.scaled()
		f.clock.Step(2 * time.Second)
		f.says(0)
		f.decide()
		f.scaled(0)
	})
	t.Run("failures go on from where they were", func(t *testing.T) {
		f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
			so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 6}
		})
		f.store(func(s *v1alpha1.ScaledObjectStatus) {
			s.ExternalMetricNames = []string{"s0-m"}
			s.Health = map[string]v1alpha1.HealthStatus{"s0-m": {NumberOfFailures: ptr.To[int32](4), Status: v1alpha1.HealthFailing}}
			s.Fallback = []v1alpha1.FallbackVerdict{{Metric: "s0-m", Since: metav1.NewTime(start.Add(-time.Hour)), Behavior: "static", Replicas: ptr.To[int32](6)}}
		})
		f.Loop = f.process()
		// The family has been gone all the time: nobody knows its metrics.
		f.states[0] = federation.State{Generation: 1, Unreachable: errors.New("Service scaler-kafka not found")}
		f.decide()
		got := f.object().Status
		if len(got.Fallback) != 1 || got.Fallback[0].Metric != "s0-m" || !got.Fallback[0].Since.Time.Equal(start.Add(-time.Hour)) {
			t.Errorf("fallback verdicts %+v", got.Fallback)
		}
		if n := *got.Health["s0-m"].NumberOfFailures; n != 4 {
			t.Errorf("%d failures", n)
		}
	})
}

func TestSpecChanges(t *testing.T) {
	fallback := func(so *v1alpha1.ScaledObject) {
		so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 6}
	}
	failing := func(f *fixture) {
		f.state(func(s *federation.State) {
			s.Outcome, s.Values, s.Err = scaling.Failed, nil, errors.New("dial")
		})
	}
	edit := func(f *fixture, change func(*v1alpha1.ScaledObject)) {
		f.edit(func(so *v1alpha1.ScaledObject) { so.Generation++; change(so) })
	}
	t.Run("an unrelated one keeps reading and conditions before it is subscribed", func(t *testing.T) {
		f := newFixture(t, 3, nil)
		f.began()
		f.says(10)
		f.decide()
		before := f.object().Status
		f.clock.Step(time.Hour)
		f.says(10)
		f.decide()
		edit(f, func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = ptr.To[int32](10) })
		f.decide() // the state is still that of generation 1
		for _, c := range before.Conditions {
			if have := f.condition(c.Type); have != c {
				t.Errorf("%s was %+v, is %+v", c.Type, c, have)
			}
		}
		if !f.object().Status.TriggersActivity["s0-m"].IsActive {
			t.Error("activity lost")
		}
	})
	t.Run("an unrelated one keeps failures", func(t *testing.T) {
		f := newFixture(t, 3, fallback)
		f.began()
		f.says(0)
		failing(f)
		f.decide()
		edit(f, func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = ptr.To[int32](10) })
		f.decide()
		if n := f.memory(f.object()).triggers[0].Failures.Count; n != 1 || f.errors["0 s0-m"] != 1 {
			t.Errorf("%d failures, counted %v", n, f.errors)
		}
	})
	t.Run("another trigger starts afresh, its neighbour does not", func(t *testing.T) {
		f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
			so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "redis"}, v1alpha1.ScaleTrigger{Type: "nats"})
		})
		f.began()
		for i := range 3 {
			f.saysOf(i, 0)
			s := f.states[i]
			s.Outcome, s.Values, s.Err = scaling.Failed, nil, errors.New("dial")
			f.states[i] = s
		}
		f.decide()
		edit(f, func(so *v1alpha1.ScaledObject) {
			so.Spec.Triggers = so.Spec.Triggers[:2]
			so.Spec.Triggers[1].Metadata = map[string]string{"listName": "jobs"}
		})
		f.clock.Step(time.Hour)
		f.state(func(s *federation.State) { s.HeardAt = f.clock.Now() })
		f.decide()
		m := f.memory(f.object())
		if len(m.triggers) != 2 || m.triggers[0].Failures.Count < 2 || m.triggers[1].Failures.Count != 0 {
			t.Errorf("triggers %+v", m.triggers)
		}
		if len(f.errors) != 1 || f.errors["0 s0-m"] == 0 {
			t.Errorf("counted %v", f.errors)
		}
	})
}

func TestErrorsAreCountedOncePerInterval(t *testing.T) {
	f := newFixture(t, 3, nil)
	f.began()
	f.states[0] = federation.State{Generation: 1, Unreachable: errors.New("Service scaler-kafka not found in namespace sluice-system")}
	for range 10 {
		f.decide()
	}
	if f.errors["0 "] != 1 {
		t.Errorf("counted %v within an interval", f.errors)
	}
	f.clock.Step(30 * time.Second)
	f.decide()
	if f.errors["0 "] != 2 {
		t.Errorf("counted %v after another interval", f.errors)
	}
	want := "trigger 0 (kafka): Service scaler-kafka not found in namespace sluice-system"
	if c := f.condition(v1alpha1.ConditionReady); c.Message != want {
		t.Errorf("Ready %+v", c)
	}
}

func TestWhatCountsAsAFailure(t *testing.T) {
	rung := func(s *federation.State) {
		s.Outcome, s.Values, s.Err, s.DetectedBy = scaling.Failed, nil, errors.New("dial"), federation.DetectionDoorbell
	}
	tests := map[string]struct {
		says  func(*federation.State)
		after time.Duration
		want  int32
	}{
		"a regular read":                     {func(s *federation.State) { rung(s); s.DetectedBy = federation.DetectionPolling }, 0, 1},
		"a doorbell's read":                  {rung, 0, 0},
		"a doorbell's read, until the next":  {rung, 15*time.Second - 1, 0},
		"a doorbell's read, and the next":    {rung, 15 * time.Second, 1},
		"a good read, then nobody":           {func(s *federation.State) { s.Unreachable = errors.New("gone") }, 15*time.Second - 1, 0},
		"a good read, then long nobody":      {func(s *federation.State) { s.Unreachable = errors.New("gone") }, 15 * time.Second, 1},
		"a doorbell's read, then nobody":     {func(s *federation.State) { rung(s); s.Unreachable = errors.New("gone") }, 15 * time.Second, 1},
		"a doorbell's read, then a refusal":  {func(s *federation.State) { rung(s); s.Rejected = errors.New("topic: missing") }, 0, 1},
		"a doorbell's good read, then quiet": {func(s *federation.State) { s.DetectedBy = federation.DetectionDoorbell }, 41 * time.Second, 1},
		"no observation and no beat":         {func(*federation.State) {}, 40*time.Second + 1, 1},
		"a beat in time":                     {func(*federation.State) {}, 40 * time.Second, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
				so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 6}
			})
			f.began()
			f.says(0)
			f.state(tt.says)
			f.clock.Step(tt.after)
			f.decide()
			if n := f.memory(f.object()).triggers[0].Failures.Count; n != tt.want {
				t.Errorf("%d failures, want %d", n, tt.want)
			}
		})
	}
}

func TestPausedReplicas(t *testing.T) {
	pause := func(text string) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationPausedReplicas: text}
		}
	}
	tests := map[string]struct {
		change func(*v1alpha1.ScaledObject)
		want   []int32
	}{
		"are written": {change: pause("2"), want: []int32{2}},
		"are written whatever else is wrong": {change: func(so *v1alpha1.ScaledObject) {
			so.Spec.Triggers = nil
			pause("2")(so)
		}, want: []int32{2}},
		"may be what is there":            {change: pause("3")},
		"may be zero":                     {change: pause("0"), want: []int32{0}},
		"that are no number move nothing": {change: pause("many")},
		"may be left open": {change: func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 3, tt.change)
			f.says(50)
			f.decide()
			f.scaled(tt.want...)
			f.decide()
			f.scaled()
		})
	}
	t.Run("are kept, whoever scales", func(t *testing.T) {
		f := newFixture(t, 3, pause("2"))
		f.decide()
		f.scaleByHand(7)
		f.cluster.Writes()
		f.decide()
		f.scaled(2)
	})
}

func TestAfterAPauseTriggersAreAskedAfresh(t *testing.T) {
	f := newFixture(t, 3, nil)
	f.began()
	f.says(0)
	f.state(func(s *federation.State) {
		s.Outcome, s.Values, s.Err = scaling.Failed, nil, errors.New("dial")
	})
	f.decide()
	f.edit(func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} })
	f.decide()
	f.clock.Step(time.Hour)
	f.edit(func(so *v1alpha1.ScaledObject) { so.Annotations = nil })
	delete(f.states, 0)
	f.decide()
	if c := f.condition(v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready %+v before the first word", c)
	}
	if n := f.memory(f.object()).triggers[0].Failures.Count; n != 0 {
		t.Errorf("%d failures during the pause", n)
	}
}

func TestHPAActiveMirrorsTheHPA(t *testing.T) {
	tests := map[string]struct {
		conditions []autoscalingv2.HorizontalPodAutoscalerCondition
		want       v1alpha1.Condition
	}{
		"nothing said yet": {},
		"scaling": {
			[]autoscalingv2.HorizontalPodAutoscalerCondition{
				{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse},
				{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue, Reason: "ValidMetricFound", Message: "changes"},
			},
			v1alpha1.Condition{Type: v1alpha1.ConditionHPAActive, Status: "True", Reason: "HPAActive", Message: "the HPA is scaling"},
		},
		"at zero": {
			[]autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "ScalingDisabled", Message: "replicas 0"}},
			v1alpha1.Condition{Type: v1alpha1.ConditionHPAActive, Status: "True", Reason: "ScalingDisabled", Message: "replicas 0"},
		},
		"without metrics": {
			[]autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetExternalMetric", Message: "no"}},
			v1alpha1.Condition{Type: v1alpha1.ConditionHPAActive, Status: "False", Reason: "FailedGetExternalMetric", Message: "no"},
		},
		"without a reason": {
			[]autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse}},
			v1alpha1.Condition{Type: v1alpha1.ConditionHPAActive, Status: "False", Reason: "HPAMetricsUnavailable"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 3, nil)
			hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keda-hpa-worker"}}
			hpa.Status.Conditions = tt.conditions
			if err := f.cluster.Direct.Create(t.Context(), hpa); err != nil {
				t.Fatal(err)
			}
			f.store(func(s *v1alpha1.ScaledObjectStatus) { s.HpaName = "keda-hpa-worker" })
			f.says(10)
			f.decide()
			if have := f.condition(v1alpha1.ConditionHPAActive); have != tt.want {
				t.Errorf("HPAActive %+v, want %+v", have, tt.want)
			}
			if c := f.condition(v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue {
				t.Errorf("Ready %+v: the HPA's health is no part of it", c)
			}
		})
	}
}

func TestMissingTarget(t *testing.T) {
	f := newFixture(t, 3, nil)
	if err := f.cluster.Direct.Delete(t.Context(), f.deployment()); err != nil {
		t.Fatal(err)
	}
	f.says(50)
	f.decide()
	c := f.condition(v1alpha1.ConditionReady)
	if c.Reason != v1alpha1.ReasonErrorGettingReplicas || c.Message != "apps/v1.Deployment shop/worker not found" {
		t.Errorf("Ready %+v", c)
	}
}

func TestInvalidObjectsAndThoseBeingDeletedAreLeftAlone(t *testing.T) {
	tests := map[string]func(*v1alpha1.ScaledObject){
		"invalid": func(so *v1alpha1.ScaledObject) {
			so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = ptr.To[int32](5), ptr.To[int32](1)
		},
		"being deleted": func(so *v1alpha1.ScaledObject) {
			so.Finalizers, so.DeletionTimestamp = []string{v1alpha1.Finalizer}, ptr.To(metav1.NewTime(start))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 0, change)
			f.says(50)
			f.decide()
			if writes := f.cluster.Writes(); len(writes) != 0 {
				t.Errorf("wrote %v", writes)
			}
		})
	}
}

func TestForgottenObjectsLeaveNothing(t *testing.T) {
	f := newFixture(t, 0, nil)
	template := f.object()
	if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		so := template.DeepCopy()
		so.ResourceVersion, so.UID = "", types.UID(fmt.Sprint(i))
		if err := f.cluster.Direct.Create(t.Context(), so); err != nil {
			t.Fatal(err)
		}
		f.decide()
		if err := f.cluster.Direct.Delete(t.Context(), so); err != nil {
			t.Fatal(err)
		}
		f.decide()
	}
	if n := len(f.objects); n != 0 {
		t.Errorf("%d objects remembered", n)
	}
}

// Whatever the loop writes, when it cannot be written the object says so.
func TestEveryFailedWriteIsTold(t *testing.T) {
	pausedAt := func(n string) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationPausedReplicas: n}
		}
	}
	for name, tt := range map[string]struct {
		replicas int32
		change   func(*v1alpha1.ScaledObject)
		work     float64
		want     int32
	}{
		"paused replicas":  {replicas: 3, change: pausedAt("5"), want: 5},
		"a rise from zero": {replicas: 0, work: 20, want: 4},
		"a rise to min":    {replicas: 1, change: func(so *v1alpha1.ScaledObject) { so.Spec.MinReplicaCount = ptr.To[int32](2) }, want: 2},
		"going to rest":    {replicas: 3, change: func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = ptr.To[int32](0) }, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.replicas, tt.change)
			if f.object().Paused() {
				if _, err := f.Status.Reconciled(t.Context(), f.object(), status.Reconciled{Paused: true}); err != nil {
					t.Fatal(err)
				}
			}
			f.says(tt.work)
			f.cluster.Fail(func(write string) error {
				if strings.HasPrefix(write, "scale ") {
					return apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments/scale"}, "worker", errors.New("a quota says no"))
				}
				return nil
			})
			if _, err := f.tryDecide(); err == nil {
				t.Error("a failed write is not tried again")
			}
			c := f.condition(v1alpha1.ConditionReady)
			if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonScaleTargetNotScaled || !strings.Contains(c.Message, "a quota says no") {
				t.Errorf("Ready %+v", c)
			}
			f.sawEvent(v1alpha1.ReasonScaleTargetNotScaled, "a quota says no")
			f.cluster.Fail(nil)
			f.cluster.Writes()
			f.says(tt.work)
			f.decide()
			f.scaled(tt.want)
			if c := f.condition(v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue {
				t.Errorf("after the write: Ready %+v", c)
			}
		})
	}
}

func TestPausedReplicasAreTriedAgainWhenTheTargetCannotBeRead(t *testing.T) {
	f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{v1alpha1.AnnotationPausedReplicas: "5"}
		so.Spec.ScaleTargetRef.Name = "absent"
	})
	if next := f.decide(); next != time.Minute {
		t.Errorf("next look in %v", next)
	}
}

// A count that was stored without its beginning, as KEDA stores it and Sluice
// does while fallback waits, goes on to a fallback that can be stored.
func TestACountWithoutItsBeginningEndsInAFallback(t *testing.T) {
	f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
		so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 6}
	})
	f.store(func(s *v1alpha1.ScaledObjectStatus) {
		s.ExternalMetricNames = []string{"s0-m"}
		s.Health = map[string]v1alpha1.HealthStatus{"s0-m": {NumberOfFailures: ptr.To[int32](2), Status: v1alpha1.HealthFailing}}
	})
	f.Loop = f.process()
	for range 3 {
		f.clock.Step(30 * time.Second)
		f.states[0] = federation.State{Generation: 1, Outcome: scaling.Failed, Err: errors.New("connection refused"), ObservedAt: f.clock.Now(), HeardAt: f.clock.Now()}
		f.decide()
	}
	verdicts := f.object().Status.Fallback
	if c := f.condition(v1alpha1.ConditionFallback); c.Status != metav1.ConditionTrue || len(verdicts) != 1 || verdicts[0].Since.IsZero() {
		t.Errorf("Fallback %+v, %+v", c, verdicts)
	}
}

// Whoever takes over leaves the fallback that is in force as it is until it has
// read the source: the adapter acts on nothing else.
func TestAFallbackOutlivesItsController(t *testing.T) {
	f := newFixture(t, 3, func(so *v1alpha1.ScaledObject) {
		so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 1, Replicas: 6}
	})
	fail := func() {
		f.states[0] = federation.State{
			Generation: 1, HaveSpecs: true, Specs: []federation.MetricSpec{{Name: "m", Target: 5}},
			Outcome: scaling.Failed, Err: errors.New("connection refused"), ObservedAt: f.clock.Now(), HeardAt: f.clock.Now(),
		}
	}
	for range 3 {
		f.clock.Step(30 * time.Second)
		fail()
		f.decide()
	}
	before := f.object().Status
	if len(before.Fallback) != 1 {
		t.Fatalf("fallback %+v", before.Fallback)
	}
	f.clock.Step(time.Second)
	f.Loop = f.process() // what it hears of is of before
	for range 10 {
		f.clock.Step(2 * time.Second)
		f.decide()
		now := f.object().Status
		if !slices.EqualFunc(now.Fallback, before.Fallback, func(a, b v1alpha1.FallbackVerdict) bool {
			return a.Metric == b.Metric && a.Since.Equal(&b.Since) && *a.Replicas == *b.Replicas
		}) || !now.Conditions.IsTrue(v1alpha1.ConditionFallback) || !now.TriggersActivity["s0-m"].IsActive {
			t.Fatalf("fallback %+v, activity %+v", now.Fallback, now.TriggersActivity)
		}
	}
	f.says(0)
	f.decide()
	if now := f.object().Status; len(now.Fallback) > 0 || now.Conditions.IsTrue(v1alpha1.ConditionFallback) {
		t.Errorf("after a reading: %+v", now.Fallback)
	}
}

// Of two ScaledObjects of one target, as two that were made at the same moment may
// be, the older one scales it: they do not write it in turns.
func TestATargetIsTheOldestObjects(t *testing.T) {
	for name, change := range map[string]struct {
		other func(*v1alpha1.ScaledObject)
		wrote bool
		goes  bool
	}{
		"older":               {func(*v1alpha1.ScaledObject) {}, false, false},
		"younger":             {func(so *v1alpha1.ScaledObject) { so.CreationTimestamp = metav1.NewTime(start) }, true, false},
		"older, another kind": {func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Kind = "StatefulSet" }, true, false},
		"older, but it goes":  {func(so *v1alpha1.ScaledObject) { so.Finalizers = []string{"x/y"} }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			other := &v1alpha1.ScaledObject{
				ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "other", UID: "2", CreationTimestamp: metav1.NewTime(start.Add(-2 * time.Hour))},
				Spec:       v1alpha1.ScaledObjectSpec{ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"}},
			}
			change.other(other)
			f := newFixture(t, 0, nil)
			if err := f.cluster.Direct.Create(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if change.goes {
				if err := f.cluster.Direct.Delete(t.Context(), other); err != nil {
					t.Fatal(err)
				}
			}
			f.says(7)
			f.decide()
			if got := *f.deployment().Spec.Replicas; (got != 0) != change.wrote {
				t.Errorf("the target has %d replicas", got)
			}
		})
	}
}
