package manager

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
)

func TestAuthenticationsAreAnnounced(t *testing.T) {
	recorder := events.NewFakeRecorder(10)
	leads := true
	a := &authentications{kind: authentication.Cluster, leads: func() bool { return leads }, recorder: recorder}
	first := &v1alpha1.ClusterTriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Name: "login", Generation: 1}}
	second := first.DeepCopy()
	second.Generation = 2
	q, h := newQueue(t), a.changed()
	h.Create(t.Context(), event.CreateEvent{Object: first, IsInInitialList: true}, q) // no news
	h.Create(t.Context(), event.CreateEvent{Object: first}, q)
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: first, ObjectNew: second}, q)
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: second, ObjectNew: second}, q) // a status
	h.Delete(t.Context(), event.DeleteEvent{Object: second}, q)
	leads = false
	h.Create(t.Context(), event.CreateEvent{Object: first}, q)
	var saw []string
	for len(recorder.Events) > 0 {
		saw = append(saw, strings.Fields(<-recorder.Events)[1])
	}
	want := []string{"ClusterTriggerAuthenticationAdded", "ClusterTriggerAuthenticationUpdated", "ClusterTriggerAuthenticationDeleted"}
	if !slices.Equal(saw, want) {
		t.Errorf("events %v, want %v", saw, want)
	}
	if q.Len() != 1 {
		t.Errorf("%d requests", q.Len())
	}
}

func TestAuthenticationsAreAskedForWhenTheirUsersChange(t *testing.T) {
	user := func(kind string, names ...string) *v1alpha1.ScaledObject {
		so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
		for _, name := range names {
			so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{AuthenticationRef: &v1alpha1.AuthenticationRef{Kind: kind, Name: name}})
		}
		return so
	}
	tests := map[string]struct {
		kind  string
		heard func(h *authentications, q queue)
		want  []string
	}{
		"a user comes": {authentication.Namespaced, func(a *authentications, q queue) {
			a.usersChanged().Create(t.Context(), event.CreateEvent{Object: user("", "a", "a")}, q)
		}, []string{"shop/a"}},
		"a user of the other kind": {authentication.Namespaced, func(a *authentications, q queue) {
			a.usersChanged().Create(t.Context(), event.CreateEvent{Object: user(authentication.Cluster, "a")}, q)
		}, nil},
		"a user of a cluster's": {authentication.Cluster, func(a *authentications, q queue) {
			a.usersChanged().Create(t.Context(), event.CreateEvent{Object: user(authentication.Cluster, "a")}, q)
		}, []string{"/a"}},
		"a user takes another": {authentication.Namespaced, func(a *authentications, q queue) {
			a.usersChanged().Update(t.Context(), event.UpdateEvent{ObjectOld: user("", "a"), ObjectNew: user("", "b")}, q)
		}, []string{"shop/a", "shop/b"}},
		"a user stays": {authentication.Namespaced, func(a *authentications, q queue) {
			a.usersChanged().Update(t.Context(), event.UpdateEvent{ObjectOld: user("", "a"), ObjectNew: user("", "a")}, q)
		}, nil},
		"a user goes": {authentication.Namespaced, func(a *authentications, q queue) {
			a.usersChanged().Delete(t.Context(), event.DeleteEvent{Object: user("", "a")}, q)
		}, []string{"shop/a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			later := &gathering{TypedRateLimitingInterface: newQueue(t)}
			tt.heard(&authentications{kind: tt.kind}, later)
			slices.Sort(later.asked)
			if !slices.Equal(later.asked, tt.want) {
				t.Errorf("asked for %q, want %q", later.asked, tt.want)
			}
		})
	}
}

// gathering is a queue that only takes note of what is to come later.
type gathering struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	asked []string
}

func (g *gathering) AddAfter(request reconcile.Request, after time.Duration) {
	if after == settling {
		g.asked = append(g.asked, request.Namespace+"/"+request.Name)
	}
}
