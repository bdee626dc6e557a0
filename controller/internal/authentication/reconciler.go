// Package authentication tells each TriggerAuthentication and
// ClusterTriggerAuthentication who uses it. What is in them is the families'
// business: the controller resolves none.
package authentication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// The kinds, as authenticationRef names them.
const (
	Namespaced = "TriggerAuthentication"
	Cluster    = "ClusterTriggerAuthentication"
)

// ByReference is the index of ScaledObjects and ScaledJobs by the
// authentications that their triggers name, as "<kind>/<name>".
const ByReference = "spec.triggers.authenticationRef"

// mostNames is how many users a status names: a cluster may have thousands that
// share one login.
const mostNames = 100

// Reconciler keeps the users of the authentications of one kind in their
// status, computed from the references there are.
type Reconciler struct {
	Client client.Client
	// Kind is Namespaced or Cluster.
	Kind string
}

// New returns an empty authentication of a kind.
func New(kind string) client.Object {
	if kind == Cluster {
		return &v1alpha1.ClusterTriggerAuthentication{}
	}
	return &v1alpha1.TriggerAuthentication{}
}

// ReferencesOf is what ByReference indexes.
func ReferencesOf(o client.Object) []string {
	var triggers []v1alpha1.ScaleTrigger
	switch o := o.(type) {
	case *v1alpha1.ScaledObject:
		triggers = o.Spec.Triggers
	case *v1alpha1.ScaledJob:
		triggers = o.Spec.Triggers
	}
	var references []string
	for _, t := range triggers {
		if ref := t.AuthenticationRef; ref != nil {
			for _, name := range kept.Key(ref.Name) {
				references = append(references, ref.AuthenticationKind()+"/"+name)
			}
		}
	}
	slices.Sort(references)
	return slices.Compact(references)
}

// Reconcile brings the status of one authentication up to date.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	authentication := New(r.Kind)
	if err := r.Client.Get(ctx, request.NamespacedName, authentication); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !authentication.GetDeletionTimestamp().IsZero() {
		return reconcile.Result{}, r.release(ctx, authentication)
	}
	users, err := r.users(ctx, authentication)
	if err != nil {
		return reconcile.Result{}, err
	}
	status := statusOf(authentication)
	if *status == users {
		return reconcile.Result{}, nil
	}
	before := authentication.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	*status = users
	err = r.Client.Status().Patch(ctx, authentication, client.MergeFrom(before))
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

// release lets an authentication go that KEDA has put its finalizer on: here
// nothing is to be done at its end.
func (r *Reconciler) release(ctx context.Context, authentication client.Object) error {
	before := authentication.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	if !controllerutil.RemoveFinalizer(authentication, v1alpha1.Finalizer) {
		return nil
	}
	err := r.Client.Patch(ctx, authentication, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// users are the objects whose triggers name an authentication. Those of a
// ClusterTriggerAuthentication may be in any namespace; as in KEDA only their
// names are told.
func (r *Reconciler) users(ctx context.Context, authentication client.Object) (v1alpha1.TriggerAuthenticationStatus, error) {
	var status v1alpha1.TriggerAuthenticationStatus
	named := []client.ListOption{
		client.InNamespace(authentication.GetNamespace()), // "" is all
		client.MatchingFields{ByReference: r.Kind + "/" + authentication.GetName()},
		client.UnsafeDisableDeepCopy, // of many large objects the names are read
	}
	var objects v1alpha1.ScaledObjectList
	if err := r.Client.List(ctx, &objects, named...); err != nil {
		return status, err
	}
	var jobs v1alpha1.ScaledJobList
	if err := r.Client.List(ctx, &jobs, named...); err != nil {
		return status, err
	}
	status.ScaledObjects = names(len(objects.Items), func(i int) client.Object { return &objects.Items[i] })
	status.ScaledJobs = names(len(jobs.Items), func(i int) client.Object { return &jobs.Items[i] })
	return status, nil
}

// names joins the distinct names of objects that are there to stay.
func names(count int, at func(int) client.Object) string {
	var all []string
	for i := range count {
		if o := at(i); o.GetDeletionTimestamp().IsZero() {
			all = append(all, o.GetName())
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if more := len(all) - mostNames; more > 0 {
		all = append(all[:mostNames], fmt.Sprintf("... (%d more)", more))
	}
	return strings.Join(all, ",")
}

func statusOf(authentication client.Object) *v1alpha1.TriggerAuthenticationStatus {
	if cluster, ok := authentication.(*v1alpha1.ClusterTriggerAuthentication); ok {
		return &cluster.Status
	}
	return &authentication.(*v1alpha1.TriggerAuthentication).Status //nolint:forcetypeassert // there are two kinds
}
