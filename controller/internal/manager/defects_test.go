package manager

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
)

// admitted is a reconciler of a test, which does not panic.
type admitted struct{ reconcile.Reconciler }

func (admitted) admits() {}

// A panic over one object stands in its Ready, whoever panicked, and the next
// one is seen to.
func TestAPanicStandsInItsObject(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Generation: 1}
	}
	triggers := []v1alpha1.ScaleTrigger{{Type: "kafka"}}
	so := &v1alpha1.ScaledObject{ObjectMeta: meta("worker"), Spec: v1alpha1.ScaledObjectSpec{
		ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"}, Triggers: triggers,
	}}
	sj := &v1alpha1.ScaledJob{ObjectMeta: meta("jobs"), Spec: v1alpha1.ScaledJobSpec{Triggers: triggers}}
	cluster := testcluster.New(t, "", nil, so, sj, testcluster.Deployment("shop", "worker", ptr.To[int32](1)))
	writer := &status.Writer{Client: cluster.Client, Events: events.NewFakeRecorder(10), Now: time.Now}
	jobs := &scaledjob.Reconciler{Client: cluster.Client, Direct: cluster.Direct, Events: events.NewFakeRecorder(10), Now: time.Now}
	hit := reconcile.Func(func(_ context.Context, request reconcile.Request) (reconcile.Result, error) {
		if request.Name == "well" {
			return reconcile.Result{RequeueAfter: time.Minute}, nil
		}
		panic("hit")
	})
	ready := func(object client.Object) string {
		t.Helper()
		if err := cluster.Direct.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatal(err)
		}
		conditions := so.Status.Conditions
		if object == client.Object(sj) {
			conditions = sj.Status.Conditions
		}
		c, _ := conditions.Get(v1alpha1.ConditionReady)
		return string(c.Status) + ": " + c.Message
	}
	for _, tt := range []struct {
		doing  string
		tell   func(context.Context, types.NamespacedName, error) error
		object client.Object
		want   string
	}{
		{"a reconcile", inScaledObject(cluster.Client, notReconciled(writer)), so, "False: a defect of Sluice ended a reconcile: its log has the details"},
		{"a decision", inScaledObject(cluster.Client, writer.Defective), so, "False: replicas not written: a defect of Sluice ended a decision: its log has the details"},
		{"a subscription", byLeader(func() bool { return false }, inScaledObject(cluster.Client, writer.Defective)), so, "False: replicas not written: a defect of Sluice ended a decision: its log has the details"},
		{"a subscription", byLeader(func() bool { return true }, inScaledObject(cluster.Client, writer.Defective)), so, "False: replicas not written: a defect of Sluice ended a subscription: its log has the details"},
		{"a ScaledJob", jobs.Defective, sj, "False: a defect of Sluice ended a ScaledJob: its log has the details"},
	} {
		if tt.doing == "a decision" {
			if _, err := writer.Reconciled(t.Context(), so, status.Reconciled{}); err != nil {
				t.Fatal(err)
			}
		}
		r := reportingPanics{hit, tt.doing, tt.tell}
		_, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(tt.object)})
		var defect *guard.Error
		if !errors.As(err, &defect) {
			t.Fatalf("%s: %v", tt.doing, err)
		}
		if have := ready(tt.object); have != tt.want {
			t.Errorf("%s: Ready is %s, want %s", tt.doing, have, tt.want)
		}
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "well"}})
		if err != nil || result.RequeueAfter != time.Minute {
			t.Errorf("%s: the next is %v, %v", tt.doing, result, err)
		}
	}
}

// An authentication has no condition, and the keys of processes belong to no
// object: their panics are an event, and counted, and both are tried again.
func TestAPanicWithoutACondition(t *testing.T) {
	login := &v1alpha1.TriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "login", UID: "login"}}
	cluster := testcluster.New(t, "", nil, login)
	recorder := events.NewFakeRecorder(10)
	a := &authentications{kind: authentication.Namespaced, leads: func() bool { return true }, recorder: recorder}
	hit := reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) { panic("hit") })
	for doing, tell := range map[string]func(context.Context, types.NamespacedName, error) error{
		"an authentication": a.defective(cluster.Client), "certificates": inMetrics,
	} {
		before := testutil.ToFloat64(guard.Panics.WithLabelValues(doing))
		_, err := reportingPanics{hit, doing, tell}.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(login)})
		var defect *guard.Error
		if !errors.As(err, &defect) {
			t.Errorf("%s: %v, so that it is not tried again", doing, err)
		}
		if n := testutil.ToFloat64(guard.Panics.WithLabelValues(doing)) - before; n != 1 {
			t.Errorf("%s: %v panics were counted", doing, n)
		}
	}
	const want = "Warning TriggerAuthenticationFailed status: a defect of Sluice ended an authentication: its log has the details"
	if len(recorder.Events) != 1 {
		t.Fatalf("%d events", len(recorder.Events))
	}
	if event := <-recorder.Events; event != want {
		t.Errorf("event %q", event)
	}
}
