package authentication

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func triggersWith(kind, name string) []v1alpha1.ScaleTrigger {
	return []v1alpha1.ScaleTrigger{
		{Type: "cron"},
		{Type: "kafka", AuthenticationRef: &v1alpha1.AuthenticationRef{Kind: kind, Name: name}},
		{Type: "kafka", AuthenticationRef: &v1alpha1.AuthenticationRef{Kind: kind, Name: name}},
	}
}

func scaledObject(namespace, name, kind, authentication string) *v1alpha1.ScaledObject {
	return &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ScaledObjectSpec{Triggers: triggersWith(kind, authentication)},
	}
}

func scaledJob(namespace, name, kind, authentication string) *v1alpha1.ScaledJob {
	return &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ScaledJobSpec{Triggers: triggersWith(kind, authentication)},
	}
}

func clientOver(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.TriggerAuthentication{}, &v1alpha1.ClusterTriggerAuthentication{}).
		WithIndex(&v1alpha1.ScaledObject{}, ByReference, ReferencesOf).
		WithIndex(&v1alpha1.ScaledJob{}, ByReference, ReferencesOf).Build()
}

func reconciled(t *testing.T, c client.Client, kind string, key types.NamespacedName) client.Object {
	t.Helper()
	r := &Reconciler{Client: c, Kind: kind}
	if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	authentication := New(kind)
	if err := c.Get(t.Context(), key, authentication); err != nil {
		t.Fatal(err)
	}
	return authentication
}

func TestStatusNamesWhoUsesAnAuthentication(t *testing.T) {
	users := []client.Object{
		scaledObject("shop", "b", "", "login"),
		scaledObject("shop", "a", "TriggerAuthentication", "login"),
		scaledObject("shop", "c", "", "other"),
		scaledObject("shop", "d", "ClusterTriggerAuthentication", "login"),
		scaledObject("bank", "e", "", "login"),
		scaledObject("bank", "d", "ClusterTriggerAuthentication", "login"),
		scaledJob("shop", "job", "", "login"),
		scaledJob("bank", "batch", "ClusterTriggerAuthentication", "login"),
	}
	tests := map[string]struct {
		authentication client.Object
		kind           string
		want           v1alpha1.TriggerAuthenticationStatus
	}{
		"of its namespace": {
			&v1alpha1.TriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "login"}}, Namespaced,
			v1alpha1.TriggerAuthenticationStatus{ScaledObjects: "a,b", ScaledJobs: "job"},
		},
		"of all namespaces": {
			&v1alpha1.ClusterTriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Name: "login"}}, Cluster,
			v1alpha1.TriggerAuthenticationStatus{ScaledObjects: "d", ScaledJobs: "batch"},
		},
		"of nobody": {
			&v1alpha1.TriggerAuthentication{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "unused"},
				Status:     v1alpha1.TriggerAuthenticationStatus{ScaledObjects: "gone"},
			}, Namespaced, v1alpha1.TriggerAuthenticationStatus{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := clientOver(t, append(users, tt.authentication)...)
			key := client.ObjectKeyFromObject(tt.authentication)
			first := reconciled(t, c, tt.kind, key)
			if got := *statusOf(first); got != tt.want {
				t.Errorf("status %+v, want %+v", got, tt.want)
			}
			if again := reconciled(t, c, tt.kind, key); again.GetResourceVersion() != first.GetResourceVersion() {
				t.Error("written although nothing changed")
			}
		})
	}
}

func TestManyUsersAreCounted(t *testing.T) {
	login := &v1alpha1.TriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "login"}}
	objects := []client.Object{login}
	for i := range mostNames + 5 {
		objects = append(objects, scaledObject("shop", fmt.Sprintf("o-%03d", i), "", "login"))
	}
	got := statusOf(reconciled(t, clientOver(t, objects...), Namespaced, client.ObjectKeyFromObject(login))).ScaledObjects
	if want := "o-098,o-099,... (5 more)"; len(got) < len(want) || got[len(got)-len(want):] != want {
		t.Errorf("status %q", got)
	}
}

func TestKEDAsFinalizerHoldsNothing(t *testing.T) {
	login := &v1alpha1.TriggerAuthentication{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "login", Finalizers: []string{v1alpha1.Finalizer},
	}}
	c, key := clientOver(t, login, scaledObject("shop", "a", "", "login")), client.ObjectKeyFromObject(login)
	reconciled(t, c, Namespaced, key)
	if err := c.Delete(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Client: c, Kind: Namespaced}
	for range 2 { // the second finds nothing
		if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Get(t.Context(), key, login); !apierrors.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
}
