package manager

import (
	"maps"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// jobOf is a Job of the ScaledJob shop/batch.
func jobOf(ended bool) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "batch-1", Labels: map[string]string{v1alpha1.LabelScaledJobName: "batch"},
	}}
	if ended {
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	}
	return job
}

func TestJobsAskForTheirScaledJob(t *testing.T) {
	leads, acts := true, true
	ended := map[string]types.NamespacedName{}
	q := newQueue(t)
	h := jobChanged(&router{leads: func() bool { return leads }}, func() bool { return acts }, func(owner types.NamespacedName, job string) { ended[job] = owner })
	owner := types.NamespacedName{Namespace: "shop", Name: "batch"}
	want := func(what string, asks, ends bool) {
		t.Helper()
		if (q.Len() == 1) != asks {
			t.Errorf("%s: %d requests", what, q.Len())
		}
		for q.Len() > 0 {
			request, _ := q.Get()
			q.Done(request)
			if request.NamespacedName != owner {
				t.Errorf("%s: asked for %s", what, request)
			}
		}
		wanted := map[string]types.NamespacedName{}
		if ends {
			wanted["batch-1"] = owner
		}
		if !maps.Equal(ended, wanted) {
			t.Errorf("%s: ended %v", what, ended)
		}
		clear(ended)
	}
	ctx := t.Context()
	h.Create(ctx, event.CreateEvent{Object: jobOf(false)}, q)
	want("a new one", true, false)
	h.Create(ctx, event.CreateEvent{Object: jobOf(true), IsInInitialList: true}, q)
	want("one that ended before", true, false)
	h.Create(ctx, event.CreateEvent{Object: jobOf(true)}, q)
	want("one that ended unseen", true, true)
	h.Update(ctx, event.UpdateEvent{ObjectOld: jobOf(false), ObjectNew: jobOf(false)}, q)
	want("a Pod of it started", false, false)
	h.Update(ctx, event.UpdateEvent{ObjectOld: jobOf(false), ObjectNew: jobOf(true)}, q)
	want("it ended", true, true)
	h.Update(ctx, event.UpdateEvent{ObjectOld: jobOf(true), ObjectNew: jobOf(true)}, q)
	want("nothing new", false, false)
	h.Delete(ctx, event.DeleteEvent{Object: jobOf(true)}, q)
	want("cleaned up", true, false)
	h.Delete(ctx, event.DeleteEvent{Object: jobOf(false)}, q)
	want("deleted while it ran", true, true)
	acts = false
	h.Update(ctx, event.UpdateEvent{ObjectOld: jobOf(false), ObjectNew: jobOf(true)}, q)
	want("while a KEDA leads", true, false)
	leads = false
	h.Update(ctx, event.UpdateEvent{ObjectOld: jobOf(false), ObjectNew: jobOf(true)}, q)
	want("on a standby", false, false)
}

func TestPodsAskForTheirScaledJob(t *testing.T) {
	b := &router{leads: func() bool { return true }}
	q := newQueue(t)
	if err := b.jobs.attach(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	pod := func(phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch-1-x", Labels: map[string]string{v1alpha1.LabelScaledJobName: "batch"}},
			Status:     corev1.PodStatus{Phase: phase},
		}
	}
	p := &pods{router: b}
	p.changed(pod(corev1.PodPending), pod(corev1.PodPending))
	if q.Len() != 0 {
		t.Error("nothing changed, and the ScaledJob is asked for")
	}
	p.changed(pod(corev1.PodPending), pod(corev1.PodRunning))
	if q.Len() != 1 {
		t.Error("a Pod runs, and nobody is told")
	}
}
