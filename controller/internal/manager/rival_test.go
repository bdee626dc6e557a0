package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
)

func lease(namespace string, renewed time.Time, change ...func(*coordinationv1.Lease)) *coordinationv1.Lease {
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: kedaLease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("keda-operator-1"), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(renewed)),
		},
	}
	for _, c := range change {
		c(l)
	}
	return l
}

func TestRival(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		lease *coordinationv1.Lease
		want  bool
	}{
		"nobody":              {lease: lease("other", start, func(l *coordinationv1.Lease) { l.Name = "another" })},
		"KEDA":                {lease: lease("keda", start), want: true},
		"KEDA, another clock": {lease: lease("keda", start.Add(-time.Hour)), want: true},
		"KEDA that let go":    {lease: lease("keda", start, func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = ptr.To("") })},
		"our own":             {lease: lease("sluice-system", start, func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = ptr.To("keda-operator-1_sluice-uuid") })},
		"another Sluice's": {lease: lease("other", start, func(l *coordinationv1.Lease) {
			l.Labels, l.Spec.HolderIdentity = leaseLabels(), ptr.To("controller-0_sluice-uuid")
		})},
		"KEDA, on a lease that was a Sluice's": {lease: lease("keda", start, func(l *coordinationv1.Lease) { l.Labels = leaseLabels() }), want: true},
		"one that says little":                 {lease: lease("keda", start, func(l *coordinationv1.Lease) { l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = nil, nil }), want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(start)
			c := fake.NewClientset(tt.lease)
			r := newRival(mayWrite(c, "keda/keda-operator"), clock.Now)
			r.namespace = "sluice-system"
			if !hindered(r) {
				t.Error("writes before it has looked")
			}
			r.look(t.Context())
			if have := hindered(r); have != tt.want {
				t.Fatalf("hindered: %v", have)
			}
			if have := testutil.ToFloat64(r.metric()); (have == 1) != tt.want {
				t.Errorf("metric is %v", have)
			}
			clock.Step(15 * time.Second) // not renewed
			r.look(t.Context())
			if hindered(r) {
				t.Error("hindered by a lease that nobody renews")
			}
			if !tt.want {
				return
			}
			tt.lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(start.Add(time.Second)))
			if _, err := c.CoordinationV1().Leases("keda").Update(t.Context(), tt.lease, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			r.look(t.Context())
			if !hindered(r) {
				t.Error("not hindered by a lease that is renewed again")
			}
		})
	}
}

// A KEDA may hold the lease by which one of us is elected, under our own Pods'
// names and with our labels: nobody of us leads then, but somebody is to be
// followed. Of a peer nobody is the shadow.
func TestAKEDAOnOurOwnLeaseIsFollowed(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for holder, want := range map[string]bool{
		"keda-operator-1_4d2d5c54": true, "keda-operator-1": true, "sluice-0_4d2d5c54": true,
		"keda-operator-1_sluice-4d2d5c54": false, "": false,
	} {
		t.Run(holder, func(t *testing.T) {
			l := lease("keda", now, func(l *coordinationv1.Lease) { l.Labels, l.Spec.HolderIdentity = leaseLabels(), &holder })
			c := fake.NewClientset(l)
			at := now
			r := newRival(mayWrite(c), func() time.Time { return at }) // whatever its rights, it is in our namespace
			r.namespace = "keda"
			changes := 0
			r.changed = func(context.Context) { changes++ }
			r.look(t.Context())
			r.look(t.Context())
			who, leads := r.leads()
			if leads != want || r.atHome() != want || leads && !strings.Contains(who, holder) || testutil.ToFloat64(r.metric()) == 1 != want {
				t.Errorf("%q leads: %v", who, leads)
			}
			if hindered(r) {
				t.Error("hindered: whoever is elected may write")
			}
			at = now.Add(leaseDuration)
			r.look(t.Context())
			if _, leads := r.leads(); leads {
				t.Error("followed although it does not renew its lease")
			}
			if has := map[bool]int{true: 2, false: 1}[want]; changes != has {
				t.Errorf("told of %d changes, want %d", changes, has)
			}
		})
	}
}

func TestRivalThatCannotBeSeen(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c := fake.NewClientset()
	var failure error
	c.PrependReactor("list", "leases", func(clienttesting.Action) (bool, runtime.Object, error) { return failure != nil, nil, failure })
	r := newRival(c, func() time.Time { return now })
	failure = errors.New("forbidden")
	r.look(t.Context())
	if why, hindered := r.hinders(); !hindered || why.Status != metav1.ConditionFalse || why.Reason != v1alpha1.ReasonLeasesUnreadable ||
		!strings.Contains(why.Message, "list and watch on leases named operator.keda.sh") || !strings.HasSuffix(why.Message, ": forbidden") {
		t.Errorf("hindered %v, %+v", hindered, why)
	}
	failure = nil
	r.look(t.Context())
	if hindered(r) {
		t.Error("hindered although nobody is there")
	}
	failure = errors.New("busy")
	r.look(t.Context())
	if hindered(r) {
		t.Error("forgets what it knew")
	}
	failure = apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "", errors.New("no role"))
	for _, after := range []time.Duration{0, refusedFor, time.Second} {
		now = now.Add(after)
		r.look(t.Context())
		if gone := after == time.Second; hindered(r) != gone {
			t.Errorf("hindered %v, want it when the permission is gone for longer than %v", !gone, refusedFor)
		}
	}
	failure = nil
	r.look(t.Context())
	if hindered(r) {
		t.Error("hindered although the permission is back")
	}
}

// A KEDA that starts while Sluice leads is seen when it takes its lease, and not
// at the next look: it has yet to read what it would write to.
func TestARivalIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := fake.NewClientset()
		r := newRival(mayWrite(c, "keda/keda-operator"), time.Now)
		ended := make(chan error, 1)
		go func() { ended <- r.Start(ctx) }()
		synctest.Wait()
		if hindered(r) {
			t.Error("hindered although nobody is there")
		}
		began := time.Now()
		if _, err := c.CoordinationV1().Leases("keda").Create(ctx, lease("keda", time.Now()), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !hindered(r) || time.Since(began) != 0 {
			t.Error("a KEDA that is installed later is not noticed at once")
		}
		<-time.After(2 * leaseDuration)
		synctest.Wait()
		if hindered(r) {
			t.Error("a KEDA that stopped to renew its lease is not noticed")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What a rival stored counts, and not what was remembered from before it: memory
// ends before the first write, and everything is looked at after it may be.
func TestMemoryEndsWhenARivalHasLed(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c := fake.NewClientset(lease("keda", now))
	r := newRival(mayWrite(c, "keda/keda-operator"), func() time.Time { return now })
	var saw []string
	r.forget = func() { saw = append(saw, "forget") }
	r.changed = func(context.Context) { saw = append(saw, fmt.Sprint("hindered ", hindered(r))) }
	r.look(t.Context())
	r.look(t.Context())
	now = now.Add(leaseDuration)
	r.look(t.Context())
	if want := []string{"hindered true", "forget", "hindered false"}; !slices.Equal(saw, want) {
		t.Errorf("saw %v, want %v", saw, want)
	}
}

// Whoever may edit a namespace may hold a lease in it. It is a KEDA's only where
// its holder may write ScaledObjects of others, which nobody gives oneself.
func TestALeaseIsKEDAsByTheRightsOfItsHolder(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "scaler-0"}, Spec: corev1.PodSpec{ServiceAccountName: "scaling"}}
	for name, tt := range map[string]struct {
		namespace, holder string
		watched           []string
		rights            []string
		want              bool
	}{
		"KEDA's usual account":       {namespace: "tools", holder: "keda-operator-1_uuid", rights: []string{"tools/keda-operator"}, want: true},
		"KEDA under another account": {namespace: "tools", holder: "scaler-0_uuid", rights: []string{"tools/scaling"}, want: true},
		"KEDA in namespaces that we watch": {
			namespace: "tools", holder: "scaler-0_uuid", watched: []string{"bank", "shop"},
			rights: []string{"tools/scaling in shop", "tools/scaling in bank"}, want: true,
		},
		"a tenant":                         {namespace: "tools", holder: "keda-operator-1_uuid", rights: []string{"keda/keda-operator"}},
		"a tenant with a Pod":              {namespace: "tools", holder: "scaler-0_uuid", rights: []string{"tools/keda-operator in tools"}},
		"a tenant with the name of KEDA's": {namespace: "shop", holder: "scaler-0_uuid", rights: []string{"tools/scaling"}},
		"a tenant, as a selector":          {namespace: "tools", holder: "a,status.phase in (x", rights: []string{"keda/keda-operator"}},
		"a tenant of one that we watch": {
			namespace: "shop", holder: "keda-operator-0", watched: []string{"shop", "bank"}, rights: []string{"shop/keda-operator in shop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
			c := fake.NewClientset(pod, lease(tt.namespace, now, func(l *coordinationv1.Lease) {
				l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &tt.holder, ptr.To[int32](math.MaxInt32)
			}))
			c.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if s := action.(clienttesting.ListAction).GetListRestrictions().Fields.String(); s != "metadata.name="+strings.Split(tt.holder, "_")[0] {
					t.Errorf("Pods are looked for by %s", s)
				}
				return false, nil, nil
			})
			r := newRival(mayWrite(c, tt.rights...), func() time.Time { return now })
			r.watched = tt.watched
			for range 2 {
				r.look(t.Context())
				if why, have := r.hinders(); have != tt.want {
					t.Fatalf("hindered: %v, %s", have, why.Message)
				}
			}
			asked := slices.DeleteFunc(c.Actions(), func(a clienttesting.Action) bool { return a.GetResource().Resource != "subjectaccessreviews" })
			if len(asked) > max(1, len(tt.watched)) {
				t.Errorf("asked %d times within one period", len(asked))
			}
		})
	}
}

// mayWrite gives accounts the right to write ScaledObjects: everywhere, or
// "in" one namespace.
func mayWrite(c *fake.Clientset, accounts ...string) *fake.Clientset {
	c.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		what := review.Spec.ResourceAttributes
		for _, account := range accounts {
			account, where, _ := strings.Cut(account, " in ")
			namespace, name, _ := strings.Cut(account, "/")
			if review.Spec.User == "system:serviceaccount:"+namespace+":"+name && slices.Contains(review.Spec.Groups, "system:serviceaccounts:"+namespace) &&
				(where == "" || where == what.Namespace) && what.Verb == "update" && what.Resource == "scaledobjects" && what.Subresource == "status" {
				review.Status.Allowed = true
			}
		}
		return true, review, nil
	})
	return c
}

func newRival(c kubernetes.Interface, now func() time.Time) *rival {
	return &rival{
		client: c, now: now, log: slog.New(slog.DiscardHandler),
		forget: func() {}, changed: func(context.Context) {},
	}
}

func hindered(r *rival) bool {
	_, hindered := r.hinders()
	return hindered
}

// counting is a reconciler that only counts.
type counting int

func (c *counting) Reconcile(context.Context, reconcile.Request) (reconcile.Result, error) {
	*c++
	return reconcile.Result{}, nil
}

// Who cannot be scaled hears so in its condition, once. While a KEDA leads nothing
// is written at all.
func TestObjectsSayWhyNobodyScalesThem(t *testing.T) {
	key := types.NamespacedName{Namespace: "shop", Name: "worker"}
	for name, tt := range map[string]struct {
		empty      func() client.Object
		conditions func(client.Object) *v1alpha1.Conditions
	}{
		"ScaledObject": {func() client.Object { return &v1alpha1.ScaledObject{} }, func(o client.Object) *v1alpha1.Conditions { return &o.(*v1alpha1.ScaledObject).Status.Conditions }},
		"ScaledJob":    {func() client.Object { return &v1alpha1.ScaledJob{} }, func(o client.Object) *v1alpha1.Conditions { return &o.(*v1alpha1.ScaledJob).Status.Conditions }},
	} {
		t.Run(name, func(t *testing.T) {
			object := tt.empty()
			object.SetNamespace(key.Namespace)
			object.SetName(key.Name)
			cluster := testcluster.With(t, nil, object)
			ready := func() v1alpha1.Condition {
				o := tt.empty()
				if err := cluster.Direct.Get(t.Context(), key, o); err != nil {
					t.Fatal(err)
				}
				c, _ := tt.conditions(o).Get(v1alpha1.ConditionReady)
				return c
			}
			var inner counting
			r := newRival(nil, time.Now)
			g := unlessRival{admitting: admitted{&inner}, rival: r, notices: &notices{client: cluster.Client, empty: tt.empty}}
			ask := func(calls counting, writes int, status metav1.ConditionStatus, reason string) {
				t.Helper()
				if _, err := g.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
					t.Fatal(err)
				}
				if n := len(cluster.Writes()); inner != calls || n != writes {
					t.Errorf("%d calls and %d writes, want %d and %d", inner, n, calls, writes)
				}
				if c := ready(); c.Status != status || c.Reason != reason {
					t.Errorf("Ready %+v, want %s %s", c, status, reason)
				}
			}
			ask(0, 0, "", "") // before the first look
			r.failed = errors.New("forbidden")
			ask(0, 1, metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable)
			ask(0, 0, metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable)
			r.failed, r.looked, r.leader = nil, true, "keda"
			ask(0, 0, metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable) // the object is KEDA's to write to
			r.leader = ""
			ask(1, 0, metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable) // the reconciler says better
			o := tt.empty()
			if err := cluster.Direct.Get(t.Context(), key, o); err != nil {
				t.Fatal(err)
			}
			tt.conditions(o).Set(v1alpha1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue})
			if err := cluster.Direct.Status().Update(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			r.failed, r.looked = errors.New("forbidden"), false
			ask(1, 1, metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable)
			if err := cluster.Direct.Delete(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			again := tt.empty()
			again.SetNamespace(key.Namespace)
			again.SetName(key.Name)
			again.SetUID("another")
			if err := cluster.Direct.Create(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			cluster.Writes()
			ask(1, 1, metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable) // made again, it has heard nothing
			if err := cluster.Direct.Delete(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil || len(g.notices.told) != 0 {
				t.Errorf("%v; %d objects that are gone are remembered", err, len(g.notices.told))
			}
		})
	}
}

// Whoever changes a lease all the time has nobody look for rivals all the time, and
// a change after a while is looked at at once.
func TestALeaseThatChangesAllTheTimeIsLookedAtNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(lease("enemy", time.Now()))
		var looks atomic.Int64
		c.PrependReactor("list", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			looks.Add(1)
			return false, nil, nil
		})
		r := newRival(c, time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Start(ctx) }()
		synctest.Wait()
		change := func() {
			t.Helper()
			if _, err := c.CoordinationV1().Leases("enemy").Update(ctx, lease("enemy", time.Now()), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for range 100 {
			change()
			<-time.After(100 * time.Millisecond)
		}
		if n := looks.Load(); n < 10 || n > 20 {
			t.Errorf("%d looks in 10 seconds of 100 changes", n)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		before := looks.Load()
		if change(); looks.Load() != before+1 {
			t.Errorf("%d looks for a change after a while", looks.Load()-before)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
