package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 123456789, time.UTC)

// fixture is a writer over an API server that counts status writes.
type fixture struct {
	*Writer
	t       *testing.T
	cluster *testcluster.Cluster
	clock   *clocktesting.FakeClock
	events  *events.FakeRecorder
	refuse  error // what the API server says to every write
	key     types.NamespacedName
}

func newFixture(t *testing.T, so *v1alpha1.ScaledObject) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(start), events: events.NewFakeRecorder(100), key: client.ObjectKeyFromObject(so)}
	f.cluster = testcluster.With(t, nil, so)
	f.cluster.Fail(func(string) error { return f.refuse })
	f.Writer = &Writer{Client: f.cluster.Client, Events: f.events, Now: f.clock.Now}
	return f
}

// object is as the API server has it.
func (f *fixture) object() *v1alpha1.ScaledObject {
	f.t.Helper()
	so := &v1alpha1.ScaledObject{}
	if err := f.Client.Get(f.t.Context(), f.key, so); err != nil {
		f.t.Fatal(err)
	}
	return so
}

func (f *fixture) condition(t v1alpha1.ConditionType) v1alpha1.Condition {
	f.t.Helper()
	c, _ := f.object().Status.Conditions.Get(t)
	return c
}

func (f *fixture) reconciled(so *v1alpha1.ScaledObject, found Reconciled) bool {
	f.t.Helper()
	held, err := f.Reconciled(f.t.Context(), so, found)
	if err != nil {
		f.t.Fatal(err)
	}
	return held
}

func (f *fixture) observed(so *v1alpha1.ScaledObject, o Observed) (again time.Duration) {
	f.t.Helper()
	again, err := f.Observed(f.t.Context(), so, o)
	if err != nil {
		f.t.Fatal(err)
	}
	return again
}

// writes counts the writes of a status since it was last asked.
func (f *fixture) writes() (n int) {
	for _, write := range f.cluster.Writes() {
		if write == "update ScaledObject/status" {
			n++
		}
	}
	return n
}

// wrote expects n writes since it was last asked, and events by reason.
func (f *fixture) wrote(n int, reasons ...string) {
	f.t.Helper()
	if have := f.writes(); have != n {
		f.t.Errorf("%d status writes, want %d", have, n)
	}
	var saw []string
	for len(f.events.Events) > 0 {
		saw = append(saw, strings.Fields(<-f.events.Events)[1])
	}
	if fmt.Sprint(saw) != fmt.Sprint(reasons) {
		f.t.Errorf("events %v, want %v", saw, reasons)
	}
}

func newObject() *v1alpha1.ScaledObject {
	return &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", Generation: 1},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}},
		},
	}
}

func with(so *v1alpha1.ScaledObject, change func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	change(so)
	return so
}

func fallback(so *v1alpha1.ScaledObject) {
	so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 6}
}

func ready(status metav1.ConditionStatus, reason, message string) v1alpha1.Condition {
	return v1alpha1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: message}
}

// quiet is the verdict on an object whose triggers were read and are inactive.
func quiet() Observed {
	return Observed{Decision: scaling.Decision{
		Ready:    ready(metav1.ConditionTrue, v1alpha1.ReasonScaledObjectReady, ""),
		Active:   &v1alpha1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonScalerNotActive},
		Fallback: &v1alpha1.Condition{Type: v1alpha1.ConditionFallback, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoFallbackFound},
		Activity: map[string]v1alpha1.TriggerActivity{"s0-kafka-orders": {}},
	}}
}

// pending is the verdict before the first reading.
func pending() Observed {
	o := quiet()
	o.Decision.Active = nil
	return o
}

// active is the verdict at the fixture's time on an object that has work.
func (f *fixture) active() Observed {
	o := quiet()
	o.Decision.Active = &v1alpha1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonScalerActive}
	o.Decision.LastActive = f.clock.Now()
	return o
}

func failing(message string) Observed {
	o := quiet()
	o.Decision.Ready = ready(metav1.ConditionFalse, v1alpha1.ReasonTriggerError, message)
	return o
}

func found() Reconciled {
	return Reconciled{
		Target:   &v1alpha1.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"},
		Replicas: ptr.To[int32](3), HPA: ptr.To("keda-hpa-worker"), ExternalMetricNames: []string{"s0-kafka-orders"},
	}
}

// settled is a fixture whose object has its first state.
func settled(t *testing.T, so *v1alpha1.ScaledObject) *fixture {
	t.Helper()
	f := newFixture(t, so)
	f.reconciled(f.object(), found())
	f.observed(f.object(), quiet())
	f.wrote(1, "ScaledObjectReady")
	f.observed(f.object(), quiet())
	f.wrote(0, "KEDAScalersStarted")
	return f
}

func TestFirstStateIsWrittenOnce(t *testing.T) {
	f := newFixture(t, newObject())
	cached := f.object()
	f.observed(cached, pending())
	if !f.reconciled(cached, found()) {
		t.Error("the first state is not held until the first reading")
	}
	f.wrote(0)
	f.observed(cached, quiet())
	f.wrote(1, "ScaledObjectReady")

	got := f.object().Status
	if got.HpaName != "keda-hpa-worker" || *got.OriginalReplicaCount != 3 || got.ScaleTargetKind != "apps/v1.Deployment" ||
		got.TriggersTypes != "kafka" || len(got.ExternalMetricNames) != 1 || len(got.TriggersActivity) != 1 {
		t.Errorf("status %+v", got)
	}
	for conditionType, want := range map[v1alpha1.ConditionType]metav1.ConditionStatus{
		v1alpha1.ConditionReady: metav1.ConditionTrue, v1alpha1.ConditionActive: metav1.ConditionFalse,
		v1alpha1.ConditionFallback: metav1.ConditionFalse, v1alpha1.ConditionPaused: metav1.ConditionFalse,
	} {
		if c := f.condition(conditionType); c.Status != want {
			t.Errorf("%s is %s, want %s", conditionType, c.Status, want)
		}
	}
}

func TestFirstStateDoesNotWaitLongForAReading(t *testing.T) {
	f := newFixture(t, newObject())
	f.reconciled(f.object(), found())
	f.observed(f.object(), pending())
	f.clock.Step(FirstState)
	if f.reconciled(f.object(), found()) {
		t.Error("still held")
	}
	f.wrote(1, "ScaledObjectReady")
	if c := f.condition(v1alpha1.ConditionActive); c.Status != metav1.ConditionUnknown {
		t.Errorf("Active is %s before any reading", c.Status)
	}
}

func TestProblemsAreToldAtOnce(t *testing.T) {
	f := newFixture(t, newObject())
	f.reconciled(f.object(), Reconciled{Err: errors.New("scaleTargetRef: apps/v1.Deployment shop/worker not found")})
	f.wrote(1, "ScaledObjectCheckFailed")
	c := f.condition(v1alpha1.ConditionReady)
	if c.Reason != v1alpha1.ReasonScaledObjectCheckFailed || c.Message != "scaleTargetRef: apps/v1.Deployment shop/worker not found" {
		t.Errorf("Ready %+v", c)
	}
	if c := f.condition(v1alpha1.ConditionActive); c.Reason != v1alpha1.ReasonUnknownState {
		t.Errorf("Active %+v", c)
	}
	if c := f.condition(v1alpha1.ConditionFallback); c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonNoFallbackFound {
		t.Errorf("Fallback %+v", c)
	}
}

func TestNothingIsWrittenWhenNothingNoticeableChanged(t *testing.T) {
	counted := func(n int32) Observed {
		o := quiet()
		o.Decision.Health = map[string]v1alpha1.HealthStatus{"s0-kafka-orders": {NumberOfFailures: &n, Status: v1alpha1.HealthFailing}}
		return o
	}
	replaced := func(since time.Time) Observed {
		o := quiet()
		o.Decision.Fallback.Status = metav1.ConditionTrue
		o.Decision.Replaced = []v1alpha1.FallbackVerdict{{Metric: "s0-kafka-orders", Since: metav1.NewTime(since), Behavior: "static"}}
		return o
	}
	tests := map[string]struct {
		object       func(*v1alpha1.ScaledObject)
		first, again Observed
		after        time.Duration
		want         int
	}{
		"the same verdict":                 {first: quiet(), again: quiet(), after: time.Hour},
		"a failure that counts is written": {object: fallback, first: counted(3), again: counted(4), want: 1},
		"a failure beyond the threshold":   {object: fallback, first: counted(4), again: counted(5), after: time.Hour},
		"a moment within a second":         {first: replaced(start), again: replaced(start)},
		"words within an interval":         {first: failing("dial: port 1"), again: failing("dial: port 2"), after: 29 * time.Second},
		"words are written once per interval": {
			first: failing("dial: port 1"), again: failing("dial: port 2"), after: 30 * time.Second, want: 1,
		},
		"another status is written at once": {first: failing("dial: port 1"), again: quiet(), want: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := newObject()
			if tt.object != nil {
				tt.object(so)
			}
			f := settled(t, so)
			f.observed(f.object(), tt.first)
			f.cluster.Writes()
			f.clock.Step(tt.after)
			f.observed(f.object(), tt.again)
			if n := f.writes(); n != tt.want {
				t.Errorf("%d writes, want %d", n, tt.want)
			}
		})
	}
}

func TestLastActiveTimeIsWrittenNowAndThen(t *testing.T) {
	tests := map[string]struct {
		cooldown *int32
		period   time.Duration
	}{
		"every minute by default":        {period: time.Minute},
		"every half of a short cooldown": {cooldown: ptr.To[int32](60), period: 30 * time.Second},
		"every second without cooldown":  {cooldown: ptr.To[int32](0), period: time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := settled(t, with(newObject(), func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = tt.cooldown }))
			f.observed(f.object(), f.active())
			f.wrote(1)
			f.clock.Step(tt.period - time.Second)
			f.observed(f.object(), f.active())
			f.wrote(0)
			f.clock.Step(time.Second)
			f.observed(f.object(), f.active())
			f.wrote(1)
			if have := f.object().Status.LastActiveTime; !have.Time.Equal(f.clock.Now().Truncate(time.Second)) {
				t.Errorf("last active %v", have)
			}
			f.clock.Step(time.Second)
			o := f.active()
			o.Decision.Active = quiet().Decision.Active
			f.observed(f.object(), o)
			f.wrote(1) // the end of activity is always noted
		})
	}
}

func TestReadyIsTheWorseOfTwo(t *testing.T) {
	problem := errors.Join(errors.New("trigger 0 (kafka): topic: missing"), errors.New("trigger 1 (cpu): value: missing"))
	unknown := quiet()
	unknown.Decision.Ready = ready(metav1.ConditionUnknown, v1alpha1.ReasonPartialTriggerError, "trigger 0 (kafka): dial")
	tests := map[string]struct {
		reconciled error
		observed   Observed
		want       v1alpha1.Condition
	}{
		"both are well": {observed: quiet(), want: ready(metav1.ConditionTrue, "ScaledObjectReady", "ScaledObject is ready for scaling")},
		"the loop alone fails": {observed: failing("trigger 0 (kafka): dial"),
			want: ready(metav1.ConditionFalse, "TriggerError", "trigger 0 (kafka): dial")},
		"the loop is partly well": {observed: unknown, want: unknown.Decision.Ready},
		"the reconciler alone fails": {reconciled: problem, observed: quiet(),
			want: ready(metav1.ConditionFalse, "ScaledObjectCheckFailed", "trigger 0 (kafka): topic: missing; trigger 1 (cpu): value: missing")},
		"both fail": {reconciled: errors.New("the cause"), observed: failing("what follows"),
			want: ready(metav1.ConditionFalse, "ScaledObjectCheckFailed", "the cause")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, newObject())
			f.observed(f.object(), tt.observed)
			result := found()
			result.Err = tt.reconciled
			f.reconciled(f.object(), result)
			if have := f.condition(v1alpha1.ConditionReady); have != tt.want {
				t.Errorf("Ready %+v, want %+v", have, tt.want)
			}
			// Neither overwrites the other, in whatever order they speak.
			f.cluster.Writes()
			f.observed(f.object(), tt.observed)
			f.reconciled(f.object(), result)
			if n := f.writes(); n != 0 {
				t.Errorf("%d writes for the same news", n)
			}
		})
	}
}

func TestEventsFollowTransitions(t *testing.T) {
	f := settled(t, newObject())
	f.observed(f.object(), failing("trigger 0 (kafka): dial"))
	f.wrote(1, "KEDAScalerFailed")
	f.observed(f.object(), failing("trigger 0 (kafka): dial"))
	f.wrote(0)
	inFallback := quiet()
	inFallback.Decision.Fallback = &v1alpha1.Condition{Type: v1alpha1.ConditionFallback, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonFallbackExists}
	f.observed(f.object(), inFallback)
	f.wrote(1, "ScaledObjectReady", "ScaledObjectFallbackActivated")
	f.observed(f.object(), inFallback)
	f.wrote(0)
	f.observed(f.object(), quiet())
	f.wrote(1, "ScaledObjectFallbackDeactivated")
}

// failedWith is the verdict on one trigger that fails while a fallback waits.
func failedWith(message string, n int32) Observed {
	o := quiet()
	o.Decision.Verdicts = []scaling.Verdict{{Outcome: scaling.Failed, Err: errors.New(message)}, {Outcome: scaling.Value}}
	o.Decision.Health = map[string]v1alpha1.HealthStatus{"s0-kafka-orders": {NumberOfFailures: &n, Status: v1alpha1.HealthFailing}}
	return o
}

// TestEventsNameTheCause proves that whoever looks at the events alone learns
// what fails, also when a fallback stands in for it, and by KEDA's reason.
func TestEventsNameTheCause(t *testing.T) {
	const cause = "trigger 0 (kafka): dial"
	inFallback := failedWith(cause, 4)
	inFallback.Decision.Fallback = &v1alpha1.Condition{
		Type: v1alpha1.ConditionFallback, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonFallbackExists, Message: cause,
	}
	formula := func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "a", Target: "5"}}
	}
	neither := func(*v1alpha1.ScaledObject) {}
	tests := map[string]struct {
		change func(*v1alpha1.ScaledObject)
		says   []Observed
		want   []string
	}{
		"without a fallback":             {neither, []Observed{failing(cause)}, []string{"Warning KEDAScalerFailed " + cause}},
		"without a fallback, in formula": {formula, []Observed{failing(cause)}, []string{"Warning KEDAMetricSourceFailed " + cause}},
		"a fallback waits":               {fallback, []Observed{failedWith(cause, 1), failedWith(cause, 2)}, []string{"Warning KEDAScalerFailed " + cause}},
		"a fallback waits, in a formula": {func(so *v1alpha1.ScaledObject) { fallback(so); formula(so) }, []Observed{failedWith(cause, 1)}, []string{"Warning KEDAMetricSourceFailed " + cause}},
		"a fallback is in force": {fallback, []Observed{failedWith(cause, 3), inFallback}, []string{
			"Warning KEDAScalerFailed " + cause, "Normal ScaledObjectFallbackActivated fallback is in force: " + cause,
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := settled(t, with(newObject(), tt.change))
			for _, o := range tt.says {
				f.observed(f.object(), o)
			}
			var saw []string
			for len(f.events.Events) > 0 {
				saw = append(saw, <-f.events.Events)
			}
			if !slices.Equal(saw, tt.want) {
				t.Errorf("events %q, want %q", saw, tt.want)
			}
		})
	}
}

func TestUpdatesThatCannotBeAreAnnounced(t *testing.T) {
	f := newFixture(t, newObject())
	f.reconciled(f.object(), Reconciled{Err: fmt.Errorf("scaleTargetRef: %w", &kinds.UnparsableError{APIVersion: "a/b/c"})})
	f.wrote(1, "ScaledObjectCheckFailed", "ScaledObjectUpdateFailed")

	f = newFixture(t, newObject())
	f.refuse = apierrors.NewInvalid(schema.GroupKind{Kind: "ScaledObject"}, "worker", nil)
	if _, err := f.Reconciled(t.Context(), f.object(), Reconciled{Err: errors.New("x")}); err == nil {
		t.Error("no error")
	}
	f.wrote(0, "ScaledObjectUpdateFailed")
}

func TestStartIsAnnouncedOnce(t *testing.T) {
	f := settled(t, newObject())
	f.observed(f.object(), f.active())
	f.wrote(1)
	f.Writer = &Writer{Client: f.Client, Events: f.events, Now: f.clock.Now} // another process takes over
	f.reconciled(f.object(), found())
	for range 2 {
		f.observed(f.object(), f.active())
	}
	f.wrote(0)

	other := with(f.object(), func(so *v1alpha1.ScaledObject) {
		so.Generation++
		so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "cron", Metadata: map[string]string{}})
	})
	if err := f.Client.Update(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	f.reconciled(other, found())
	for range 2 {
		f.observed(other, f.active())
	}
	if event := <-f.events.Events; event != "Normal KEDAScalersStarted started watching kafka,cron" {
		t.Errorf("event %q", event)
	}
	f.wrote(1)
}

func TestAnObjectThatWasNeverReadyStartsAndStopsNothing(t *testing.T) {
	f := newFixture(t, newObject())
	f.reconciled(f.object(), Reconciled{Err: errors.New("trigger 0 (kafka): no ready instance")})
	f.observed(f.object(), failing("no ready instance"))
	f.observed(f.object(), failing("no ready instance"))
	f.wrote(2, "ScaledObjectCheckFailed")
	f.reconciled(f.object(), Reconciled{Paused: true, HPA: ptr.To("")})
	f.wrote(1, "ScaledObjectReady", "ScaledObjectPaused")
}

func TestWarningsAreToldOnceAndStayInReady(t *testing.T) {
	f := settled(t, newObject())
	odd := found()
	odd.Warnings = []string{"trigger 0 (kafka): lagTreshold: unknown, lagThreshold was meant?", "annotation sluice.dev/doorbell: no"}
	for range 2 {
		f.reconciled(f.object(), odd)
		f.observed(f.object(), quiet())
	}
	const want = "trigger 0 (kafka): lagTreshold: unknown, lagThreshold was meant?; annotation sluice.dev/doorbell: no"
	if c := f.condition(v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue || c.Message != "ScaledObject is ready for scaling; "+want {
		t.Errorf("Ready %+v", c)
	}
	if event := <-f.events.Events; event != "Normal KEDAScalerInfo "+want {
		t.Errorf("event %q", event)
	}
	f.wrote(1)
	f.reconciled(f.object(), found())
	f.wrote(1)
	if c := f.condition(v1alpha1.ConditionReady); c.Message != "ScaledObject is ready for scaling" {
		t.Errorf("Ready %+v", c)
	}
}

// mirrored is quiet with what the HPA says of itself.
func mirrored() Observed {
	o := quiet()
	o.HPAActive = &v1alpha1.Condition{Type: v1alpha1.ConditionHPAActive, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonHPAActive}
	return o
}

// TestFirstMirrorIsPutOff proves that the first word of an HPA costs no write of
// its own while objects start, that it comes along with another, and that it
// comes at last; the next one is news.
func TestFirstMirrorIsPutOff(t *testing.T) {
	interval := newObject().PollingInterval()
	f := settled(t, newObject())
	if again := f.observed(f.object(), mirrored()); again != interval {
		t.Errorf("again in %v, want %v", again, interval)
	}
	f.wrote(0)
	f.clock.Step(interval)
	if again := f.observed(f.object(), mirrored()); again != 0 {
		t.Errorf("again in %v, want never", again)
	}
	f.wrote(1)
	failing := mirrored()
	failing.HPAActive.Status = metav1.ConditionFalse
	f.observed(f.object(), failing)
	f.wrote(1)

	f = settled(t, newObject())
	active := f.active()
	active.HPAActive = mirrored().HPAActive
	if again := f.observed(f.object(), active); again != 0 {
		t.Errorf("again in %v, want never", again)
	}
	f.wrote(1)
	if c := f.condition(v1alpha1.ConditionHPAActive); c != *active.HPAActive {
		t.Errorf("HPAActive %+v", c)
	}
}

// TestFirstMirrorWaitsForOthersToStart proves that the first word of an HPA is
// written when no other object waits for its first reconcile, however long that
// takes.
func TestFirstMirrorWaitsForOthersToStart(t *testing.T) {
	interval := newObject().PollingInterval()
	f := settled(t, newObject())
	f.observed(f.object(), mirrored())
	other := newObject()
	other.Name, other.UID = "other", "other-uid"
	f.observed(other, quiet())
	f.clock.Step(interval)
	if again := f.observed(f.object(), mirrored()); again != interval {
		t.Errorf("again in %v while another object starts, want %v", again, interval)
	}
	f.wrote(0)
	for name, ready := range map[string]func(){
		"reconciled": func() { f.reconciled(other, found()) },
		"deleted":    func() { f.Forget(client.ObjectKeyFromObject(other)) },
	} {
		if ready(); f.busy(other.Namespace) {
			t.Errorf("%s: still waited for", name)
		}
		f.Forget(client.ObjectKeyFromObject(other))
		f.observed(other, quiet())
	}
	f.Forget(client.ObjectKeyFromObject(other))
	if again := f.observed(f.object(), mirrored()); again != 0 {
		t.Errorf("again in %v, want never", again)
	}
	f.wrote(1)
}

// TestOthersDoNotWaitForAnotherNamespaceToStart has objects of one namespace made
// that nobody reports of, as whoever makes and deletes them always has some.
func TestOthersDoNotWaitForAnotherNamespaceToStart(t *testing.T) {
	interval := newObject().PollingInterval()
	f := settled(t, newObject())
	f.observed(f.object(), mirrored())
	flood := newObject()
	flood.Namespace, flood.Name, flood.UID = "flood", "other", "other-uid"
	f.observed(flood, quiet())
	f.clock.Step(interval)
	if again := f.observed(f.object(), mirrored()); again != 0 {
		t.Errorf("again in %v, want never", again)
	}
	f.wrote(1)
	f.Forget(client.ObjectKeyFromObject(flood))
	f.reconciled(f.object(), found())
	if len(f.starting) != 0 {
		t.Errorf("in the end are starting %v", f.starting)
	}
}

func TestPause(t *testing.T) {
	f := settled(t, newObject())
	f.clock.Step(time.Minute)
	f.observed(f.object(), mirrored())
	f.wrote(1)

	f.reconciled(f.object(), Reconciled{Paused: true, HPA: ptr.To(""), PausedReplicas: ptr.To[int32](2)})
	f.wrote(1, "ScaledObjectPaused", "KEDAScalersStopped")
	f.observed(f.object(), mirrored()) // of a decision that was under way
	f.wrote(0)
	got := f.object().Status
	if _, still := got.Conditions.Get(v1alpha1.ConditionHPAActive); still {
		t.Error("HPAActive outlives the HPA")
	}
	if got.HpaName != "" || *got.PausedReplicaCount != 2 || f.condition(v1alpha1.ConditionReady).Message != "ScaledObject is paused" {
		t.Errorf("status %+v", got)
	}

	f.clock.Step(time.Hour)
	f.reconciled(f.object(), found())
	f.observed(f.object(), quiet())
	f.wrote(1, "ScaledObjectUnpaused", "KEDAScalersStarted")
	if got := f.object().Status; got.PausedReplicaCount != nil {
		t.Errorf("paused replicas %d after the pause", *got.PausedReplicaCount)
	}
}

func TestPartialPause(t *testing.T) {
	in, out := v1alpha1.AnnotationPausedScaleIn, v1alpha1.AnnotationPausedScaleOut
	tests := map[string]struct {
		annotations map[string]string
		message     string
	}{
		"in":   {map[string]string{in: "true", out: "false"}, "scaling in is paused"},
		"out":  {map[string]string{out: "true"}, "scaling out is paused"},
		"both": {map[string]string{in: "true", out: ""}, "scaling in and out is paused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := newObject()
			so.Annotations = tt.annotations
			f := newFixture(t, so)
			f.observed(f.object(), quiet())
			f.reconciled(f.object(), found())
			f.wrote(1, "ScaledObjectReady", "ScaledObjectPaused")
			if c := f.condition(v1alpha1.ConditionPaused); c.Message != tt.message {
				t.Errorf("Paused %+v", c)
			}
		})
	}
}

func TestConflictIsRetriedFromFreshState(t *testing.T) {
	f := settled(t, newObject())
	stale := f.object()
	changed := f.object()
	changed.Labels = map[string]string{"team": "a"}
	if err := f.Client.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Observed(t.Context(), stale, f.active()); !apierrors.IsConflict(err) {
		t.Fatalf("error %v, want a conflict", err)
	}
	f.wrote(0)
	f.observed(f.object(), f.active())
	f.wrote(1)
	if got := f.object(); got.Labels["team"] != "a" || f.condition(v1alpha1.ConditionActive).Status != metav1.ConditionTrue {
		t.Errorf("object %+v", got)
	}
}

func TestCacheBehindOurOwnWritesIsNoConflict(t *testing.T) {
	f := newFixture(t, newObject())
	stale := f.object()
	f.reconciled(stale, found())
	f.observed(stale, quiet())
	afterFirst := f.object()
	f.observed(stale, f.active())
	f.wrote(2, "ScaledObjectReady", "KEDAScalersStarted")
	f.observed(afterFirst, quiet()) // the cache shows the first of two writes
	f.wrote(1)
	f.observed(stale, quiet())
	f.wrote(0)
}

func TestActivationIsRecordedBeforeTheFirstReconcile(t *testing.T) {
	f := newFixture(t, newObject())
	a := &v1alpha1.Activation{Metric: "s0-kafka-orders", Replicas: 10, Time: metav1.NewMicroTime(start)}
	f.Rose(f.object(), a)
	f.observed(f.object(), quiet())
	if got := f.object().Status.Activation; got == nil || got.Replicas != 10 || got.Metric != a.Metric {
		t.Errorf("activation %+v", got)
	}
	f.observed(f.object(), quiet())
	f.reconciled(f.object(), found())
	if f.object().Status.Activation == nil {
		t.Error("a later write dropped the activation")
	}
}

func TestVerdictStandsWhileReplicasAreUnknown(t *testing.T) {
	f := settled(t, with(newObject(), fallback))
	o := quiet()
	o.Decision.Replaced = []v1alpha1.FallbackVerdict{{Metric: "s0-kafka-orders", Since: metav1.NewTime(start), Behavior: "static"}}
	f.observed(f.object(), o)
	o = failing("current replicas are unknown")
	o.Decision.Fallback = nil
	f.observed(f.object(), o)
	if got := f.object().Status.Fallback; len(got) != 1 {
		t.Errorf("fallback verdicts %+v", got)
	}
	// Of a fallback that is no more there is none.
	f.reconciled(with(f.object(), func(so *v1alpha1.ScaledObject) { so.Spec.Fallback = nil }), found())
	if got := f.object().Status.Fallback; len(got) != 0 {
		t.Errorf("fallback verdicts %+v", got)
	}
}

func TestOriginalReplicasAreThoseOfTheTargetInForce(t *testing.T) {
	f := settled(t, newObject())
	again := found()
	again.Replicas = ptr.To[int32](7)
	f.reconciled(f.object(), again)
	if n := *f.object().Status.OriginalReplicaCount; n != 3 {
		t.Errorf("original replicas %d follow the target", n)
	}
	f.Retargeted(f.object())
	f.reconciled(f.object(), Reconciled{Err: errors.New("not found")})
	f.reconciled(f.object(), again)
	if n := *f.object().Status.OriginalReplicaCount; n != 7 {
		t.Errorf("original replicas %d are another target's", n)
	}
	again.Replicas = ptr.To[int32](1)
	f.reconciled(f.object(), again)
	if n := *f.object().Status.OriginalReplicaCount; n != 7 {
		t.Errorf("original replicas %d follow the target", n)
	}
}

func TestAnotherTargetWhilePausedIsAnother(t *testing.T) {
	f := settled(t, newObject())
	paused := with(f.object(), func(so *v1alpha1.ScaledObject) {
		so.Generation, so.Spec.ScaleTargetRef.Name = 2, "other"
		so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
	})
	if err := f.Client.Update(t.Context(), paused); err != nil {
		t.Fatal(err)
	}
	f.reconciled(f.object(), Reconciled{Paused: true, HPA: ptr.To("")})
	again := found()
	again.Replicas = ptr.To[int32](7)
	f.reconciled(with(f.object(), func(so *v1alpha1.ScaledObject) { so.Annotations = nil }), again)
	f.observed(f.object(), quiet())
	if n := *f.object().Status.OriginalReplicaCount; n != 7 {
		t.Errorf("original replicas %d are another target's", n)
	}
}

func TestNothingStandsOfAnObjectThatBecameInvalid(t *testing.T) {
	f := settled(t, newObject())
	f.observed(f.object(), f.active())
	f.reconciled(f.object(), Reconciled{Invalid: true, Err: errors.New("minReplicaCount: 5 exceeds maxReplicaCount 3")})
	if c := f.condition(v1alpha1.ConditionActive); c.Status != metav1.ConditionUnknown || c.Reason != v1alpha1.ReasonUnknownState {
		t.Errorf("Active %+v", c)
	}
}

func TestDeletedObjectLeavesNothing(t *testing.T) {
	f := settled(t, newObject())
	so := f.object()
	if err := f.Client.Delete(t.Context(), so.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	f.observed(so, f.active()) // a decision that was under way: no error, no event
	f.wrote(0)
	f.Deleted(so)
	f.wrote(0, "KEDAScalersStopped", "ScaledObjectDeleted")
	for i := range 1000 {
		so := newObject()
		so.UID = types.UID(fmt.Sprint(i))
		f.reconciled(so, Reconciled{})
		f.Forget(f.key)
	}
	if n := len(f.records); n != 0 {
		t.Errorf("%d records of objects that are gone", n)
	}
}

func TestNewObjectOfTheSameNameStartsAfresh(t *testing.T) {
	f := settled(t, newObject())
	f.observed(f.object(), failing("dial"))
	f.clock.Step(time.Hour)
	again := newObject()
	again.UID = "2"
	if seen := f.Seen(again); !seen.Equal(f.clock.Now()) {
		t.Errorf("seen at %v", seen)
	}
	if r := f.record(again); r.observed != nil || r.reconciled != nil {
		t.Errorf("record %+v of the object before", r)
	}
}

func TestSeenStartsAgain(t *testing.T) {
	f := settled(t, newObject())
	later := func(change func(*v1alpha1.ScaledObject)) bool {
		f.clock.Step(time.Hour)
		return f.Seen(with(f.object(), change)).Equal(f.clock.Now())
	}
	if later(func(*v1alpha1.ScaledObject) {}) {
		t.Error("with nothing new")
	}
	if !later(func(so *v1alpha1.ScaledObject) { so.Generation++ }) {
		t.Error("not with a new generation")
	}
	pause := func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} }
	if later(pause) {
		t.Error("with a pause")
	}
	if !later(func(*v1alpha1.ScaledObject) {}) {
		t.Error("not after a pause")
	}
}

func TestLongNotesAreCut(t *testing.T) {
	f := newFixture(t, newObject())
	f.reconciled(f.object(), Reconciled{Err: errors.New(strings.Repeat("ü", 1000))})
	note := strings.SplitN(<-f.events.Events, " ", 3)[2]
	if len(note) > longestNote || !strings.HasSuffix(note, "ü…") {
		t.Errorf("%d bytes: ...%q", len(note), note[len(note)-8:])
	}
}
