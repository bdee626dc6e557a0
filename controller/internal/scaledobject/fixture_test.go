package scaledobject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// fixture is a Reconciler over one ScaledObject on a Deployment of 3 replicas.
type fixture struct {
	*Reconciler
	t       *testing.T
	cluster *testcluster.Cluster
	clock   *clocktesting.FakeClock
	events  *events.FakeRecorder
	states  map[int]federation.State
}

func kafka(topic string) v1alpha1.ScaleTrigger {
	return v1alpha1.ScaleTrigger{Type: "kafka", Metadata: map[string]string{"topic": topic}}
}

func newObject(change ...func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "1", Generation: 1},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{kafka("orders")},
		},
	}
	for _, c := range change {
		c(so)
	}
	return so
}

func newFixture(t *testing.T, so *v1alpha1.ScaledObject, others ...client.Object) *fixture {
	t.Helper()
	objects := append(others, so, testcluster.Deployment("shop", "worker", ptr.To[int32](3)), testcluster.Deployment("shop", "other", ptr.To[int32](7)))
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(start), events: events.NewFakeRecorder(1000), states: map[int]federation.State{}}
	f.cluster = testcluster.New(t, ByOwner, OwnerOf, objects...)
	f.Reconciler = &Reconciler{
		Client:  f.cluster.Client,
		Targets: &target.Client{Reader: f.cluster.Client, Direct: f.cluster.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}},
		Status:  &status.Writer{Client: f.cluster.Client, Events: f.events, Now: f.clock.Now},
		Version: "v1.2.3", Now: f.clock.Now,
		States: func(id federation.ID) (federation.State, bool) { s, ok := f.states[id.Index]; return s, ok },
	}
	return f
}

// settled is a fixture whose object has its HPA and first state.
func settled(t *testing.T, so *v1alpha1.ScaledObject) *fixture {
	t.Helper()
	f := newFixture(t, so)
	for i, trigger := range so.Spec.Triggers {
		if !trigger.Builtin() {
			f.answers(i, 5)
		}
	}
	f.observe()
	f.reconcile()
	if f.hpa() == nil {
		t.Fatal("no HPA")
	}
	f.cluster.Writes()
	return f
}

// answers makes the family answer for a trigger of the object as it is.
func (f *fixture) answers(index int, target float64) {
	f.states[index] = federation.State{
		Generation: f.object().Generation, HaveSpecs: true, Specs: []federation.MetricSpec{{Name: "m", Target: target}},
	}
}

// observe is the activation loop's word on an object at rest.
func (f *fixture) observe() {
	f.t.Helper()
	d := scaling.Decision{
		Ready:    v1alpha1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue},
		Active:   &v1alpha1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonScalerNotActive},
		Fallback: &v1alpha1.Condition{Type: v1alpha1.ConditionFallback, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoFallbackFound},
	}
	if _, err := f.Status.Observed(f.t.Context(), f.object(), status.Observed{Decision: d}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) reconcile() reconcile.Result {
	f.t.Helper()
	result, err := f.tryReconcile()
	if err != nil {
		f.t.Fatal(err)
	}
	return result
}

func (f *fixture) tryReconcile() (reconcile.Result, error) {
	return f.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: key})
}

// wrote expects what was written since it was last asked.
func (f *fixture) wrote(want ...string) {
	f.t.Helper()
	if have := f.cluster.Writes(); !slices.Equal(have, want) {
		f.t.Errorf("wrote %q, want %q", have, want)
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

// hpa is the object's HPA under its usual name, nil when there is none.
func (f *fixture) hpa() *autoscalingv2.HorizontalPodAutoscaler { return f.hpaNamed("keda-hpa-worker") }

func (f *fixture) hpaNamed(name string) *autoscalingv2.HorizontalPodAutoscaler {
	f.t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	err := f.cluster.Direct.Get(f.t.Context(), types.NamespacedName{Namespace: "shop", Name: name}, hpa)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		f.t.Fatal(err)
	}
	return hpa
}

// edit changes the object's spec as a user would, annotate its metadata.
func (f *fixture) edit(change func(*v1alpha1.ScaledObject)) {
	f.t.Helper()
	f.annotate(func(so *v1alpha1.ScaledObject) { so.Generation++; change(so) })
}

func (f *fixture) annotate(change func(*v1alpha1.ScaledObject)) {
	f.t.Helper()
	so := f.object()
	change(so)
	if err := f.cluster.Direct.Update(f.t.Context(), so); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) ready() v1alpha1.Condition {
	f.t.Helper()
	c, _ := f.object().Status.Conditions.Get(v1alpha1.ConditionReady)
	return c
}

// wantReady expects the condition's status and message.
func (f *fixture) wantReady(status metav1.ConditionStatus, message string) {
	f.t.Helper()
	if c := f.ready(); c.Status != status || c.Message != message {
		f.t.Errorf("Ready %+v\nwant %s %q", c, status, message)
	}
}

func (f *fixture) sawEvents(reasons ...string) {
	f.t.Helper()
	var saw []string
	for len(f.events.Events) > 0 {
		saw = append(saw, strings.Fields(<-f.events.Events)[1])
	}
	if fmt.Sprint(saw) != fmt.Sprint(reasons) {
		f.t.Errorf("events %v, want %v", saw, reasons)
	}
}

// targets are the HPA's metrics as "<name> <target>".
func targets(hpa *autoscalingv2.HorizontalPodAutoscaler) []string {
	if hpa == nil {
		return nil
	}
	var all []string
	for _, m := range hpa.Spec.Metrics {
		switch {
		case m.External != nil && m.External.Target.Value != nil:
			all = append(all, m.External.Metric.Name+" value "+m.External.Target.Value.String())
		case m.External != nil:
			all = append(all, m.External.Metric.Name+" "+m.External.Target.AverageValue.String())
		case m.Resource != nil:
			all = append(all, string(m.Resource.Name))
		case m.ContainerResource != nil:
			all = append(all, string(m.ContainerResource.Name)+" of "+m.ContainerResource.Container)
		}
	}
	return all
}

func (f *fixture) wantTargets(want ...string) {
	f.t.Helper()
	if have := targets(f.hpa()); !slices.Equal(have, want) {
		f.t.Errorf("HPA metrics %q, want %q", have, want)
	}
}

var errDown = errors.New("kafka: Service scaler-kafka in namespace sluice-system has no ready instance")
