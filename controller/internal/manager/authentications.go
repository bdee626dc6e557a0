package manager

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
)

// settling is how long users of an authentication are gathered before its
// status is written: many come at once.
const settling = 2 * time.Second

// authentications follows the authentications of one kind.
type authentications struct {
	kind     string
	leads    func() bool
	recorder events.EventRecorder
	due      feed
}

// indexReferences makes users of authentications known by them.
func indexReferences(ctx context.Context, mgr ctrl.Manager) error {
	for _, user := range []client.Object{&v1alpha1.ScaledObject{}, &v1alpha1.ScaledJob{}} {
		err := mgr.GetFieldIndexer().IndexField(ctx, user, authentication.ByReference, authentication.ReferencesOf)
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *authentications) add(mgr ctrl.Manager, r admitting) error {
	return ctrl.NewControllerManagedBy(mgr).Named(strings.ToLower(a.kind)).
		Watches(authentication.New(a.kind), a.changed()).
		Watches(&v1alpha1.ScaledObject{}, a.usersChanged()).
		Watches(&v1alpha1.ScaledJob{}, a.usersChanged()).
		WatchesRawSource(source.Func(a.due.attach)).
		WithOptions(inTurns(fewWorkers, controller.Options{RateLimiter: retries()})).
		Complete(againAfterConflict(r))
}

// changed asks for an authentication that came, changed or is to go, and tells
// of it. Those that are there when a controller starts are no news.
func (a *authentications) changed() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				a.tell(e.Object, a.kind+"Added", "Add", "added")
			}
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)})
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectNew.GetGeneration() != e.ObjectOld.GetGeneration() && e.ObjectNew.GetDeletionTimestamp().IsZero() {
				a.tell(e.ObjectNew, a.kind+"Updated", "Update", "updated")
			}
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)})
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) {
			a.tell(e.Object, a.kind+"Deleted", "Delete", "deleted")
		},
	}
}

// tell emits the event of what happened to an authentication.
func (a *authentications) tell(o client.Object, reason, action, done string) {
	if a.leads() {
		a.recorder.Eventf(o, nil, corev1.EventTypeNormal, reason, action, "%s %s", a.kind, done)
	}
}

// defective tells of an authentication whose users are not up to date, by a
// mistake of ours. It has no conditions.
func (a *authentications) defective(objects client.Reader) func(context.Context, types.NamespacedName, error) error {
	return func(ctx context.Context, key types.NamespacedName, defect error) error {
		o := authentication.New(a.kind)
		if err := objects.Get(ctx, key, o); err != nil {
			return err
		}
		a.recorder.Eventf(o, nil, corev1.EventTypeWarning, a.kind+"Failed", "Update", "status: %v", defect)
		return nil
	}
}

// usersChanged asks for the authentications that an object has begun or ceased
// to use.
func (a *authentications) usersChanged() handler.EventHandler {
	ask := func(q queue, user client.Object, references []string) {
		for _, reference := range references {
			kind, name, _ := strings.Cut(reference, "/")
			if kind != a.kind {
				continue
			}
			key := types.NamespacedName{Name: name}
			if kind == authentication.Namespaced {
				key.Namespace = user.GetNamespace()
			}
			q.AddAfter(reconcile.Request{NamespacedName: key}, settling)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			ask(q, e.Object, authentication.ReferencesOf(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, after := authentication.ReferencesOf(e.ObjectOld), authentication.ReferencesOf(e.ObjectNew)
			if !slices.Equal(before, after) {
				ask(q, e.ObjectNew, append(before, after...))
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			ask(q, e.Object, authentication.ReferencesOf(e.Object))
		},
	}
}

// all asks for every authentication there is.
func (a *authentications) all(ctx context.Context, objects client.Reader) {
	if a.kind == authentication.Cluster {
		var list v1alpha1.ClusterTriggerAuthenticationList
		if objects.List(ctx, &list) == nil {
			for i := range list.Items {
				a.due.add(client.ObjectKeyFromObject(&list.Items[i]))
			}
		}
		return
	}
	var list v1alpha1.TriggerAuthenticationList
	if objects.List(ctx, &list) == nil {
		for i := range list.Items {
			a.due.add(client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
}
