package manager

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
)

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
		{"a ScaledJob", jobs.Defective, sj, "False: a defect of Sluice ended a ScaledJob: its log has the details"},
	} {
		if tt.doing == "a decision" {
			if _, err := writer.Reconciled(t.Context(), so, status.Reconciled{}); err != nil {
				t.Fatal(err)
			}
		}
		r := admittingDefects{hit, tt.doing, tt.tell}
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
