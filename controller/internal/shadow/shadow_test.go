package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// fixture is a shadow of a KEDA that leads, on a clock of its own.
type fixture struct {
	*Shadow
	t       *testing.T
	cluster *testcluster.Cluster
	clock   *clocktesting.FakeClock
	states  map[federation.ID]federation.State
	leads   bool
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(start), states: map[federation.ID]federation.State{}, leads: true}
	f.cluster = testcluster.With(t, nil, objects...)
	f.Shadow = &Shadow{
		Jobs:    f.jobsOf,
		Client:  f.cluster.Client,
		Targets: &target.Client{Reader: f.cluster.Client, Direct: f.cluster.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: f.clock.Now}},
		States:  func(id federation.ID) (federation.State, bool) { s, ok := f.states[id]; return s, ok },
		Leader:  func() (string, bool) { return "KEDA (keda-operator-0) in namespace keda", f.leads },
		Mode:    func(context.Context) (equivalence.Mode, string) { return equivalence.Standby, "controller-a" },
		Now:     f.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
	t.Cleanup(func() {
		if writes := f.cluster.Writes(); len(writes) > 0 {
			t.Errorf("a shadow wrote %v", writes)
		}
	})
	return f
}

func (f *fixture) jobsOf(ctx context.Context, of types.NamespacedName) (jobs []*batchv1.Job, err error) {
	var list batchv1.JobList
	err = f.cluster.Client.List(ctx, &list, client.InNamespace(of.Namespace), client.MatchingLabels{v1alpha1.LabelScaledJobName: of.Name})
	for i := range list.Items {
		jobs = append(jobs, &list.Items[i])
	}
	return jobs, err
}

// worker is a ScaledObject as KEDA leaves it, with one kafka trigger of target 5.
func worker(change ...func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}},
		},
	}
	so.Status.HpaName = "keda-hpa-worker"
	so.Status.Conditions = conditionsOf("True", "False")
	for _, c := range change {
		c(so)
	}
	return so
}

func conditionsOf(ready, active metav1.ConditionStatus) v1alpha1.Conditions {
	return v1alpha1.Conditions{{Type: v1alpha1.ConditionReady, Status: ready}, {Type: v1alpha1.ConditionActive, Status: active}}
}

// hpa is the one that KEDA made for the worker.
func hpa(replicas int32, average string) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "keda-hpa-worker",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: "worker", UID: "1", Controller: ptr.To(true)}},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MinReplicas: ptr.To[int32](1), MaxReplicas: 100,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: "s0-m"},
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("5"))},
			}}},
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: replicas, DesiredReplicas: replicas},
	}
	if average != "" {
		h.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricStatus{
			Metric: autoscalingv2.MetricIdentifier{Name: "s0-m"}, Current: autoscalingv2.MetricValueStatus{AverageValue: ptr.To(resource.MustParse(average))},
		}}}
	}
	return h
}

func ofWorker(index int) federation.ID {
	return federation.ID{Kind: "ScaledObject", Namespace: "shop", Name: "worker", Index: index}
}

// says is an observation of now.
func (f *fixture) says(id federation.ID, value float64) {
	f.states[id] = federation.State{
		Generation: 1, HaveSpecs: true, Specs: []federation.MetricSpec{{Name: "m", Target: 5}},
		Outcome: scaling.Value, Values: []federation.Value{{Metric: "m", Value: value, Active: value > 0}},
		ObservedAt: f.clock.Now(), HeardAt: f.clock.Now(),
	}
}

// after lets time pass, in which everything goes on to be read as it is, and
// returns the one object that is told of.
func (f *fixture) after(d time.Duration) equivalence.Object {
	f.t.Helper()
	for end := f.clock.Now().Add(d); ; {
		for id, s := range f.states {
			s.ObservedAt, s.HeardAt = f.clock.Now(), f.clock.Now()
			f.states[id] = s
		}
		f.look(f.t.Context())
		if !f.clock.Now().Before(end) {
			break
		}
		f.clock.Step(lookPeriod)
	}
	told := f.Document(f.t.Context(), "", "")
	if len(told.Objects) != 1 {
		f.t.Fatalf("%d objects are told of, want 1", len(told.Objects))
	}
	return told.Objects[0]
}

// theirs is what the other writes.
func (f *fixture) theirs(o client.Object, change func()) {
	f.t.Helper()
	if err := f.cluster.Direct.Get(f.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		f.t.Fatal(err)
	}
	change()
	if err := f.cluster.Direct.Update(f.t.Context(), o); err != nil {
		f.t.Fatal(err)
	}
	if so, ok := o.(*v1alpha1.ScaledObject); ok {
		change() // an update takes no status
		if err := f.cluster.Direct.Status().Update(f.t.Context(), so); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Work comes, and KEDA does what Sluice would have done: the object agrees at
// zero, on the way and at work.
func TestBothDoTheSame(t *testing.T) {
	so, deployment, h := worker(), testcluster.Deployment("shop", "worker", ptr.To[int32](0)), hpa(0, "")
	f := newFixture(t, so, deployment, h)
	if o := f.after(0); o.Verdict != equivalence.Unknown {
		t.Fatalf("before anything was read: %+v", o)
	}
	f.says(ofWorker(0), 0)
	if o := f.after(time.Minute); o.Verdict != equivalence.Agrees || *o.Replicas != 0 || o.Would != nil || o.Active != "False" {
		t.Fatalf("at zero: %+v", o)
	}
	f.says(ofWorker(0), 12)
	o := f.after(5 * time.Second)
	if o.Verdict != equivalence.Unknown || o.Would == nil || *o.Would != 3 || *o.Wants != 3 || len(o.Acts) != 1 || o.Acts[0].Did != nil {
		t.Fatalf("before KEDA polls: %+v", o)
	}
	f.theirs(deployment, func() { deployment.Spec.Replicas = ptr.To[int32](1) })
	f.theirs(so, func() { so.Status.Conditions = conditionsOf("True", "True") })
	f.after(15 * time.Second)
	f.theirs(deployment, func() { deployment.Spec.Replicas = ptr.To[int32](3) })
	f.theirs(h, func() { h.Status = hpa(3, "4").Status })
	o = f.after(time.Minute)
	if o.Verdict != equivalence.Agrees || *o.Replicas != 3 || len(o.Past) > 0 {
		t.Fatalf("at work: %+v", o)
	}
	if m := o.Metrics[0]; *m.Value != 12 || m.Theirs.Value != 12 || *m.Highest != 12 {
		t.Errorf("metric %+v", m)
	}
	if a := o.Acts[0]; len(o.Acts) != 1 || a.From != 0 || *a.Would != 3 || *a.Did != 1 || !a.After.After(a.Time) {
		t.Errorf("acts %+v", o.Acts)
	}
	const want = `
# HELP sluice_shadow_objects Objects that somebody else scales, by what became of comparing.
# TYPE sluice_shadow_objects gauge
sluice_shadow_objects{verdict="agrees"} 1
sluice_shadow_objects{verdict="cannot be served"} 0
sluice_shadow_objects{verdict="differs"} 0
sluice_shadow_objects{verdict="not known yet"} 0
`
	if err := testutil.CollectAndCompare(f.Shadow, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestWhatDiffers(t *testing.T) {
	read := func(v float64) func(*fixture) {
		return func(f *fixture) { f.says(ofWorker(0), v) }
	}
	failed := func(change func(*federation.State)) func(*fixture) {
		return func(f *fixture) {
			f.says(ofWorker(0), 0)
			s := f.states[ofWorker(0)]
			s.Outcome, s.Values = scaling.Failed, nil
			change(&s)
			f.states[ofWorker(0)] = s
		}
	}
	active := func(so *v1alpha1.ScaledObject) { so.Status.Conditions = conditionsOf("True", "True") }
	for name, tt := range map[string]struct {
		object   *v1alpha1.ScaledObject
		replicas int32
		hpa      *autoscalingv2.HorizontalPodAutoscaler
		says     func(*fixture)
		verdict  equivalence.Verdict
		reasons  []equivalence.Reason
	}{
		"another value": {
			object: worker(active), replicas: 3, hpa: hpa(3, "7"), says: read(12),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Value},
		},
		"a fraction": {
			object: worker(active), replicas: 3, hpa: hpa(3, "4"), says: read(12.7),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Rounding},
		},
		"an average that does not come out even": {
			object: worker(active), replicas: 3, hpa: hpa(3, "3334m"), says: read(10), verdict: equivalence.Agrees,
		},
		"work that KEDA does not see": {
			object: worker(), replicas: 0, hpa: hpa(0, ""), says: read(12),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Activity, equivalence.Replicas},
		},
		"an end that KEDA does not see": {
			object: worker(), replicas: 3, hpa: hpa(3, "0"), says: read(0),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Replicas},
		},
		"a grant that is missing": {
			object: worker(active), replicas: 3, hpa: hpa(3, "4"),
			says: failed(func(s *federation.State) {
				s.Err = status.Error(codes.PermissionDenied, "ServiceAccount sluice-system/scaler-kafka may not get Secret shop/login; to grant it: kubectl ...")
			}),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.MissingGrant},
		},
		"a login that the source refuses": {
			object: worker(active), replicas: 3, hpa: hpa(3, "4"),
			says:    failed(func(s *federation.State) { s.Err = status.Error(codes.PermissionDenied, "not authorized") }),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Source},
		},
		"a source that KEDA cannot read either": {
			object: worker(func(so *v1alpha1.ScaledObject) { so.Status.Conditions = conditionsOf("False", "Unknown") }), replicas: 3, hpa: hpa(3, ""),
			says:    failed(func(s *federation.State) { s.Err = status.Error(codes.Unavailable, "no route") }),
			verdict: equivalence.Agrees,
		},
		"a family that is missing": {
			object: worker(active), replicas: 3, hpa: hpa(3, "4"),
			says:    failed(func(s *federation.State) { s.Unreachable = federation.Absent("kafka", "sluice-system", nil) }),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.MissingFamily},
		},
		"a trigger that its family refuses": {
			object: worker(active), replicas: 3, hpa: hpa(3, "4"),
			says: failed(func(s *federation.State) {
				s.Rejected = status.Error(codes.InvalidArgument, "lagThreshold: not a number")
			}),
			verdict: equivalence.NotServed, reasons: []equivalence.Reason{equivalence.Refused},
		},
		"an object that is wrong": {
			object: worker(active, func(so *v1alpha1.ScaledObject) { so.Spec.MaxReplicaCount = ptr.To[int32](-1) }), replicas: 3, hpa: hpa(3, "4"), says: read(12),
			verdict: equivalence.NotServed, reasons: []equivalence.Reason{equivalence.Refused},
		},
		"another limit": {
			object: worker(active, func(so *v1alpha1.ScaledObject) { so.Spec.MaxReplicaCount = ptr.To[int32](7) }), replicas: 3, hpa: hpa(3, "4"), says: read(12),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Target},
		},
		"paused": {
			object: worker(func(so *v1alpha1.ScaledObject) {
				so.Annotations = map[string]string{v1alpha1.AnnotationPausedReplicas: "3"}
			}), replicas: 3, says: read(0),
			verdict: equivalence.Agrees,
		},
		"paused at another number": {
			object: worker(func(so *v1alpha1.ScaledObject) {
				so.Annotations = map[string]string{v1alpha1.AnnotationPausedReplicas: "4"}
			}), replicas: 3, says: read(0),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Replicas},
		},
		"a formula": {
			object: worker(active, func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers[0].Name = "a"
				so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "a * 2", Target: "5"}}
			}), replicas: 3, hpa: composite(hpa(3, "8")), says: read(12),
			verdict: equivalence.Agrees,
		},
		"a formula that comes to something else": {
			object: worker(active, func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers[0].Name = "a"
				so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "a * 3", Target: "5"}}
			}), replicas: 3, hpa: composite(hpa(3, "8")), says: read(12),
			verdict: equivalence.Differs, reasons: []equivalence.Reason{equivalence.Value},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{tt.object, testcluster.Deployment("shop", "worker", &tt.replicas)}
			if tt.hpa != nil {
				objects = append(objects, tt.hpa)
			}
			f := newFixture(t, objects...)
			tt.says(f)
			o := f.after(10 * time.Minute)
			var reasons []equivalence.Reason
			for _, d := range o.Differences {
				reasons = append(reasons, d.Reason)
			}
			if o.Verdict != tt.verdict || !slices.Equal(reasons, tt.reasons) {
				t.Errorf("%s %v, want %s %v: %+v", o.Verdict, reasons, tt.verdict, tt.reasons, o)
			}
		})
	}
}

func composite(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	h.Spec.Metrics[0].External.Metric.Name = scaling.CompositeMetric
	h.Status.CurrentMetrics[0].External.Metric.Name = scaling.CompositeMetric
	return h
}

// The HPA asks every 15 s, and a queue moves: whatever was read lately may be
// what it was told.
func TestAQueueThatMovesIsNoDifference(t *testing.T) {
	f := newFixture(t, worker(func(so *v1alpha1.ScaledObject) { so.Status.Conditions = conditionsOf("True", "True") }),
		testcluster.Deployment("shop", "worker", ptr.To[int32](1)), hpa(1, "10"))
	for i := range 60 {
		f.says(ofWorker(0), float64(i))
		f.look(t.Context())
		h := hpa(1, "10")
		f.theirs(h, func() { h.Status = hpa(1, fmt.Sprint(max(i-6, 0))).Status })
		f.clock.Step(lookPeriod)
	}
	o := f.after(0)
	if len(o.Differences) > 0 || len(o.Past) > 0 {
		t.Errorf("%+v", o)
	}
}

func TestJobs(t *testing.T) {
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch", UID: "2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec: v1alpha1.ScaledJobSpec{
			JobTargetRef: &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "app", Image: "app"}}, RestartPolicy: corev1.RestartPolicyNever,
			}}},
			Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}},
		},
	}
	sj.Status.Conditions = conditionsOf("True", "True")
	f := newFixture(t, sj)
	id := federation.ID{Kind: "ScaledJob", Namespace: "shop", Name: "batch"}
	f.says(id, 15)
	o := f.after(5 * time.Second)
	if o.Would == nil || *o.Would != 3 || *o.Replicas != 0 || o.Verdict != equivalence.Unknown {
		t.Fatalf("%+v", o)
	}
	if o = f.after(2 * time.Minute); o.Verdict != equivalence.Differs || o.Differences[0].Reason != equivalence.Replicas {
		t.Fatalf("KEDA starts none: %+v", o)
	}
	for i := range 3 {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: fmt.Sprint("batch-", i), Labels: map[string]string{v1alpha1.LabelScaledJobName: "batch"},
			CreationTimestamp: metav1.NewTime(f.clock.Now()),
		}}
		if err := f.cluster.Direct.Create(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	if o = f.after(time.Minute); o.Verdict != equivalence.Agrees || o.Would != nil || *o.Replicas != 3 || len(o.Past) != 1 {
		t.Errorf("KEDA started them: %+v", o)
	}
}

// An object that is made again under its name is another one, and one that is
// gone is not told of.
func TestObjectsComeAndGo(t *testing.T) {
	so := worker()
	f := newFixture(t, so, testcluster.Deployment("shop", "worker", ptr.To[int32](0)))
	f.says(ofWorker(0), 12)
	if o := f.after(5 * time.Minute); o.Verdict != equivalence.Differs {
		t.Fatalf("%+v", o)
	}
	if err := f.cluster.Direct.Delete(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	if err := f.cluster.Direct.Create(t.Context(), worker(func(so *v1alpha1.ScaledObject) { so.UID = "2" })); err != nil {
		t.Fatal(err)
	}
	if o := f.after(0); o.Verdict != equivalence.Unknown || len(o.Past)+len(o.Differences) > 0 {
		t.Errorf("it has what another one had: %+v", o)
	}
	if err := f.cluster.Direct.Delete(t.Context(), worker()); err != nil {
		t.Fatal(err)
	}
	f.look(t.Context())
	if d := f.Document(t.Context(), "", ""); len(d.Objects) != 0 || f.room.all != 0 || len(f.room.of) != 0 {
		t.Errorf("%d objects are told of, %d bytes counted", len(d.Objects), f.room.all)
	}
}

// When nobody else leads any more nothing is kept, and nothing told.
func TestTheShadowEndsWithTheLeader(t *testing.T) {
	f := newFixture(t, worker(), testcluster.Deployment("shop", "worker", ptr.To[int32](0)))
	f.says(ofWorker(0), 0)
	f.after(time.Minute)
	f.leads = false
	f.look(t.Context())
	d := f.Document(t.Context(), "", "")
	if d.Mode != equivalence.Standby || d.Leader != "controller-a" || len(d.Objects) > 0 || f.entries != nil || testutil.CollectAndCount(f.Shadow) != 0 {
		t.Errorf("%+v, %d entries", d, len(f.entries))
	}
	f.leads = true
	if o := f.after(0); o.Verdict == "" || !f.since.After(start) {
		t.Errorf("%+v since %s", o, f.since)
	}
}

// What is kept is bounded, in all and for one namespace; who finds no room is
// counted, and others find theirs.
func TestRoomIsBounded(t *testing.T) {
	const most = mostOfOne / (bytesOfObject + bytesOfTrigger)
	f := newFixture(t)
	enter := func(namespace string, i int) bool {
		return f.entry(id{"ScaledObject", types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}}, 1) != nil
	}
	for i := range most {
		if !enter("crowd", i) {
			t.Fatalf("no room for object %d of %d", i, most)
		}
	}
	if enter("crowd", most) {
		t.Error("a namespace has more than its share")
	}
	if !enter("shop", 0) || !enter("crowd", 0) {
		t.Error("no room for another namespace, or for who has some")
	}
	e := f.entries[id{"ScaledObject", types.NamespacedName{Namespace: "crowd", Name: "0"}}]
	for range mostMetrics {
		e.metric(equivalence.Metric{Name: strings.Repeat("x", 400)}, nil, start, time.Minute)
	}
	e.metric(equivalence.Metric{Name: "one too many"}, nil, start, time.Minute)
	if len(e.next.Metrics) != mostMetrics {
		t.Errorf("%d metrics of one object", len(e.next.Metrics))
	}
	before, of := f.room.all, id{"ScaledObject", types.NamespacedName{Namespace: "crowd", Name: "0"}}
	f.keep(of, e)
	if f.entries[of] != nil || f.room.all >= before {
		t.Error("one that grew beyond the share of its namespace is kept")
	}
}

// What is kept of an object is no more than what is counted for it.
func TestWhatIsCountedIsWhatIsKept(t *testing.T) {
	const count = 1000
	var objects []client.Object
	for i := range count {
		objects = append(objects, worker(func(so *v1alpha1.ScaledObject) {
			so.Name, so.UID = fmt.Sprint("worker-", i), types.UID(fmt.Sprint(i))
		}))
	}
	f := newFixture(t, append(objects, testcluster.Deployment("shop", "worker", ptr.To[int32](0)))...)
	for i := range count {
		f.says(federation.ID{Kind: "ScaledObject", Namespace: "shop", Name: fmt.Sprint("worker-", i)}, 12)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 3 {
		f.look(t.Context())
		f.clock.Step(time.Minute)
	}
	took := int(heap()) - int(before)
	if f.room.all != count*(bytesOfObject+bytesOfTrigger)+len(f.entries)*(bytesOfMetric+3*len("s0-m")) || took > f.room.all {
		t.Errorf("%d entries take %d bytes, counted are %d", len(f.entries), took, f.room.all)
	}
}

func TestPages(t *testing.T) {
	var objects []client.Object
	for i := range pageSize + 10 {
		objects = append(objects, worker(func(so *v1alpha1.ScaledObject) {
			so.Name, so.UID, so.Namespace = fmt.Sprintf("worker-%04d", i), types.UID(fmt.Sprint(i)), []string{"bank", "shop"}[i%2]
		}))
	}
	f := newFixture(t, objects...)
	f.look(t.Context())
	fetch := func(namespace string) (d equivalence.Document, pages int) {
		d, err := equivalence.Fetch(t.Context(), namespace, func(ctx context.Context, path string) ([]byte, error) {
			pages++
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if !json.Valid(w.Body.Bytes()) {
				return nil, errors.New(w.Body.String())
			}
			return w.Body.Bytes(), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return d, pages
	}
	all, pages := fetch("")
	names := map[string]bool{}
	for _, o := range all.Objects {
		names[o.Namespace+"/"+o.Name] = true
	}
	if len(all.Objects) != pageSize+10 || len(names) != pageSize+10 || pages != 2 {
		t.Errorf("%d objects of %d names on %d pages", len(all.Objects), len(names), pages)
	}
	if some, pages := fetch("bank"); len(some.Objects) != (pageSize+10)/2 || pages != 1 || some.Objects[0].Namespace != "bank" {
		t.Errorf("%d objects on %d pages", len(some.Objects), pages)
	}
}

// Targets that no cache has are read now and then, not at every look.
func TestTargetsThatNobodyWatchesAreReadNowAndThen(t *testing.T) {
	f := newFixture(t, worker())
	reads := 0
	f.Targets = counted(func() (target.Target, error) {
		reads++
		return target.Target{Unwatched: true, Replicas: int32(reads)}, nil
	})
	f.says(ofWorker(0), 0)
	if o := f.after(time.Minute); reads != 3 || *o.Replicas != 3 {
		t.Errorf("read %d times in a minute, %d replicas", reads, *o.Replicas)
	}
}

type counted func() (target.Target, error)

func (c counted) Get(context.Context, *v1alpha1.ScaledObject) (target.Target, error) { return c() }

// sharing is a cache whose workloads nobody copies.
type sharing struct {
	client.Client
	deployment *appsv1.Deployment
}

func (s *sharing) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if into, ok := o.(*appsv1.Deployment); ok {
		*into = *s.deployment
		return nil
	}
	return s.Client.Get(ctx, key, o, options...)
}

// What is remembered of a target keeps nothing else of it in memory.
func TestNothingElseIsKeptOfTargets(t *testing.T) {
	f := newFixture(t, worker(), hpa(1, ""))
	cached := &sharing{f.cluster.Client, testcluster.Deployment("shop", "worker", ptr.To[int32](1))}
	cached.deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app"}}
	gone := make(chan struct{})
	runtime.AddCleanup(&cached.deployment.Spec.Template.Spec.Containers[0], func(gone chan struct{}) { close(gone) }, gone)
	f.Targets = &target.Client{Reader: cached, Direct: f.cluster.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: f.clock.Now}}
	f.after(0)
	cached.deployment = nil
	for late := time.After(30 * time.Second); ; {
		runtime.GC()
		select {
		case <-gone:
			runtime.KeepAlive(f)
			return
		case <-late:
			t.Fatal("its containers are kept")
		case <-time.After(time.Millisecond):
		}
	}
}
