package manager

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
)

const (
	// kedaLease is the lease of every KEDA, and of Sluice by default.
	kedaLease = "operator.keda.sh"
	// lookPeriod is how often rivals are looked for, beside at every change of a
	// lease.
	lookPeriod = 5 * time.Second
	// leaseDuration is that of a lease which does not say.
	leaseDuration = 15 * time.Second
	// Changes of leases have rivals looked for at once, a few times, and then no
	// more often than every ringGap: anybody may change one in their namespace
	// all the time.
	ringBurst = 3
	ringGap   = time.Second
)

// leaseLabels mark the leases of Sluice: several installations may share the
// objects of a cluster among them by namespace or label.
func leaseLabels() map[string]string { return map[string]string{"app.kubernetes.io/part-of": "sluice"} }

// rival looks for a KEDA that runs in the same cluster. While one renews its
// lease Sluice is its shadow and only reads: the two never write side by side.
type rival struct {
	client kubernetes.Interface
	// namespace has our own lease, "" when there is none under the name. A KEDA
	// may hold that one, too: then nobody of us is elected.
	namespace string
	// watched are the namespaces of our objects; none is all.
	watched []string
	// forget is called when a rival no longer leads, before writes go on: what
	// this process remembers is older than what the rival stored.
	forget func()
	// changed is called when the answer of hinders did.
	changed func(context.Context)
	log     *slog.Logger
	now     func() time.Time

	// believed are the leases that were held at the last look, by namespace. Only
	// look has it.
	believed map[string]belief

	mu     sync.Mutex
	looked bool
	seen   map[string]sighting // by namespace of the lease
	leader string              // namespace of the rival that leads, "" for none
	holder string              // and its name
	// home is the KEDA that holds our own lease, "" for none.
	home   string
	failed error // why the last look saw nothing
	// refused is since when leases may not be listed any more.
	refused time.Time
}

// sighting is a lease as it was renewed last, and when that was noticed: other
// clocks may differ from ours.
type sighting struct {
	renewed, noticed time.Time
}

// Start looks until ctx is done.
func (r *rival) Start(ctx context.Context) error {
	rings := make(chan struct{}, 1)
	var listening sync.WaitGroup
	guard.Go(&listening, "the watch of leases", "", func() {
		guard.Loop(ctx, "the watch of leases", "", func() { r.listen(ctx, rings) })
	})
	defer listening.Wait()
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	pace := rate.NewLimiter(rate.Every(ringGap), ringBurst)
	for {
		_ = guard.Do("a look at leases", "", func() { r.look(ctx) }) // logged
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-rings:
			if pace.Wait(ctx) != nil {
				return nil
			}
		}
	}
}

// listen rings when the lease of somebody else changes, so that a KEDA which
// starts is seen before it has read what it would write to. While there is no
// watch, a look comes every lookPeriod.
func (r *rival) listen(ctx context.Context, rings chan<- struct{}) {
	for ctx.Err() == nil {
		if watching, err := r.client.CoordinationV1().Leases(metav1.NamespaceAll).Watch(ctx, kedaLeases()); err == nil {
			r.hear(ctx, watching, rings)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookPeriod):
		}
	}
}

func (r *rival) hear(ctx context.Context, watching watch.Interface, rings chan<- struct{}) {
	defer watching.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event, goesOn := <-watching.ResultChan():
			if !goesOn {
				return
			}
			if lease, ok := event.Object.(*coordinationv1.Lease); !ok || lease.Namespace == r.namespace {
				continue
			}
			select {
			case rings <- struct{}{}:
			default: // it is rung already
			}
		}
	}
}

func kedaLeases() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + kedaLease}
}

// NeedLeaderElection tells controller-runtime that standbys look, too: a lease
// that nobody renews is known as such when they take over.
func (r *rival) NeedLeaderElection() bool { return false }

// hinders reports whether nothing is to be written, and why, as condition Ready
// says it. There is no such condition until the first look, nor while a KEDA
// leads: the objects are its to write to.
func (r *rival) hinders() (why v1alpha1.Condition, hinders bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	why.Type = v1alpha1.ConditionReady
	switch {
	case r.leader != "":
	case r.looked:
		return v1alpha1.Condition{}, false
	case r.failed != nil:
		why.Status, why.Reason = metav1.ConditionFalse, v1alpha1.ReasonLeasesUnreadable
		why.Message = "nothing is scaled, since " + unseen + ": " + r.failed.Error()
	}
	return why, true
}

// leads is the KEDA that scales in our place, with the namespace of its lease.
func (r *rival) leads() (who string, leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.leader != "":
		return fmt.Sprintf("KEDA (%s) in namespace %s", r.holder, r.leader), true
	case r.home != "":
		return fmt.Sprintf("KEDA (%s) in namespace %s", r.home, r.namespace), true
	}
	return "", false
}

// atHome reports whether a KEDA holds our own lease.
func (r *rival) atHome() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.home != ""
}

// unseen says what it takes to see a KEDA.
const unseen = "it cannot be seen whether KEDA runs: list and watch on leases named " + kedaLease +
	" and list on pods are needed in all namespaces, and create on subjectaccessreviews"

// refusedFor is how long a refusal may last before the last verdict ends: an API
// server that has just started refuses for a moment.
const refusedFor = time.Minute

// look brings the verdict up to date. As long as the API server cannot be asked
// the last one stands.
func (r *rival) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, lookPeriod)
	defer cancel()
	leases, err := r.kedas(limited)
	if ctx.Err() != nil {
		return
	}
	before := r.verdict()
	if err != nil {
		r.missed(err)
	} else {
		r.judge(leases)
	}
	if r.verdict() != before {
		r.changed(ctx)
	}
}

// verdict is what others act on: which KEDA leads, whether anything may be
// written, and if not, why.
func (r *rival) verdict() (all struct {
	leads, hinders bool
	reason         string
}) {
	why, hinders := r.hinders()
	_, all.leads = r.leads()
	all.hinders, all.reason = hinders, why.Reason
	return all
}

func (r *rival) missed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.log.Error(unseen, "error", err)
	}
	r.failed = err
	switch {
	case !apierrors.IsForbidden(err):
		r.refused = time.Time{}
	case r.refused.IsZero():
		r.refused = r.now()
	case r.now().Sub(r.refused) > refusedFor:
		r.looked = false // the permission is gone: Ready says so
	}
}

// kedas are the leases that a KEDA holds, our own among them: in our namespace
// nobody is but who may be.
func (r *rival) kedas(ctx context.Context) (kedas []coordinationv1.Lease, err error) {
	leases, err := r.client.CoordinationV1().Leases(metav1.NamespaceAll).List(ctx, kedaLeases())
	if err != nil {
		return nil, err
	}
	held := map[string]belief{}
	for i := range leases.Items {
		lease := &leases.Items[i]
		if lease.Name != kedaLease || ptr.Deref(lease.Spec.HolderIdentity, "") == "" {
			continue
		}
		if lease.Namespace == r.namespace {
			if !ofSluice(lease) {
				kedas = append(kedas, *lease)
			}
			continue
		}
		if sluices(lease) {
			continue
		}
		b, err := r.believe(ctx, lease)
		if err != nil {
			return nil, err
		}
		if held[lease.Namespace] = b; b.keda {
			kedas = append(kedas, *lease)
		}
	}
	r.believed = held
	return kedas, nil
}

func (r *rival) judge(kedas []coordinationv1.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.seen
	r.seen, r.looked, r.failed, r.refused = map[string]sighting{}, true, nil, time.Time{}
	leader, holder, home := "", "", ""
	for i := range kedas {
		switch lease := &kedas[i]; {
		case !r.renews(lease, before[lease.Namespace]):
		case lease.Namespace == r.namespace:
			home = *lease.Spec.HolderIdentity
		default:
			leader, holder = lease.Namespace, *lease.Spec.HolderIdentity
		}
	}
	switch {
	case leader != "" && r.leader == "":
		r.log.Warn("KEDA holds its lease: Sluice only reads until that ends", "namespace", leader, "holder", holder)
	case leader == "" && r.leader != "":
		r.log.Info("KEDA no longer holds its lease: Sluice scales", "namespace", r.leader)
		r.forget()
	}
	r.leader, r.holder, r.home = leader, holder, home
}

// sluices reports whether a lease is a Sluice's. The labels stay on one that a
// KEDA has taken back.
func sluices(lease *coordinationv1.Lease) bool {
	for key, value := range leaseLabels() {
		if lease.Labels[key] != value {
			return false
		}
	}
	return ofSluice(lease)
}

// renews takes note of a lease and reports whether somebody renews it.
func (r *rival) renews(lease *coordinationv1.Lease, last sighting) bool {
	now := sighting{noticed: r.now()}
	if renewed := lease.Spec.RenewTime; renewed != nil {
		now.renewed = renewed.Time
	}
	if !last.noticed.IsZero() && last.renewed.Equal(now.renewed) {
		now.noticed = last.noticed
	}
	r.seen[lease.Namespace] = now
	holds := leaseDuration
	if given := lease.Spec.LeaseDurationSeconds; given != nil {
		holds = time.Duration(*given) * time.Second
	}
	return r.now().Sub(now.noticed) < holds
}

// metric tells whether a rival leads.
func (r *rival) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_keda_leads", Help: "1 while a KEDA holds its lease, and Sluice only reads.",
	}, func() float64 {
		if _, leads := r.leads(); leads {
			return 1
		}
		return 0
	})
}

// unlessRival holds a reconciler that writes back while a rival leads. Everything is
// asked for again when that ends.
type unlessRival struct {
	admitting
	rival *rival
	// notices tell the objects of the reconciler, nil for none.
	notices *notices
}

// Reconcile passes a request on, or drops it and says so.
func (g unlessRival) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	why, hindered := g.rival.hinders()
	if g.notices != nil && (!hindered || why.Reason != "") { // not while a KEDA leads: nothing is written
		if err := g.notices.tell(ctx, request.NamespacedName, why); err != nil {
			return reconcile.Result{}, err
		}
	}
	if hindered {
		return reconcile.Result{}, nil
	}
	return g.admitting.Reconcile(ctx, request)
}

// notices say in the objects of a kind why nobody scales them: once each.
type notices struct {
	client client.Client
	empty  func() client.Object

	mu   sync.Mutex
	told map[types.NamespacedName]notice
}

// notice is what was said in an object. One that is made again under its name
// has not been told.
type notice struct {
	uid    types.UID
	reason string
}

// tell says why; without a reason it takes note that there is none any more.
func (n *notices) tell(ctx context.Context, key types.NamespacedName, why v1alpha1.Condition) error {
	if why.Reason == "" {
		n.forget(key)
		return nil
	}
	o := n.empty()
	if err := n.client.Get(ctx, key, o); err != nil {
		if apierrors.IsNotFound(err) {
			n.forget(key)
		}
		return client.IgnoreNotFound(err)
	}
	said := notice{o.GetUID(), why.Reason}
	n.mu.Lock()
	known := n.told[key] == said
	n.mu.Unlock()
	if known {
		return nil
	}
	if err := status.Hindered(ctx, n.client, o, why); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told == nil {
		n.told = map[types.NamespacedName]notice{}
	}
	n.told[key] = said
	return nil
}

func (n *notices) forget(key types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.told, key)
}
