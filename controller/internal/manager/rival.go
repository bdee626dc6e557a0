package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// kedaLease is the lease of every KEDA, and of Sluice by default.
	kedaLease = "operator.keda.sh"
	// lookPeriod is how often rivals are looked for.
	lookPeriod = 5 * time.Second
	// firstLook is about how long the first look takes.
	firstLook = 200 * time.Millisecond
	// leaseDuration is that of a lease which does not say.
	leaseDuration = 15 * time.Second
)

// leaseLabels mark the leases of Sluice: several installations may share the
// objects of a cluster among them by namespace or label.
func leaseLabels() map[string]string { return map[string]string{"app.kubernetes.io/part-of": "sluice"} }

// rival looks for a KEDA that runs in the same cluster. While one renews its
// lease Sluice only reads and says so: the two never write side by side.
type rival struct {
	client kubernetes.Interface
	// namespace has our own lease, "" when there is none under the name.
	namespace string
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex
	looked bool
	seen   map[string]sighting // by namespace of the lease
	leader string              // namespace of the rival that leads, "" for none
	failed bool
}

// sighting is a lease as it was renewed last, and when that was noticed: other
// clocks may differ from ours.
type sighting struct {
	renewed, noticed time.Time
}

// Start looks until ctx is done.
func (r *rival) Start(ctx context.Context) error {
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// NeedLeaderElection tells controller-runtime that standbys look, too: a lease
// that nobody renews is known as such when they take over.
func (r *rival) NeedLeaderElection() bool { return false }

// blocks returns how long to put writes off, 0 when they may go on.
func (r *rival) blocks() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.looked:
		return firstLook
	case r.leader != "":
		return lookPeriod
	}
	return 0
}

// look brings the verdict up to date. As long as the API server cannot be asked
// the last one stands.
func (r *rival) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookPeriod)
	defer cancel()
	leases, err := r.client.CoordinationV1().Leases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + kedaLease})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if !r.failed && ctx.Err() == nil {
			r.log.Error("cannot see whether KEDA runs: needs list on leases named "+kedaLease+" in all namespaces", "error", err)
		}
		r.failed = true
		return
	}
	r.failed = false
	r.judge(leases.Items)
}

func (r *rival) judge(leases []coordinationv1.Lease) {
	before := r.seen
	r.seen, r.looked = map[string]sighting{}, true
	leader, holder := "", ""
	for i := range leases {
		lease := &leases[i]
		if lease.Name != kedaLease || lease.Namespace == r.namespace || sluices(lease) || ptr.Deref(lease.Spec.HolderIdentity, "") == "" {
			continue
		}
		if r.renews(lease, before[lease.Namespace]) {
			leader, holder = lease.Namespace, *lease.Spec.HolderIdentity
		}
	}
	switch {
	case leader != "" && r.leader == "":
		r.log.Warn("KEDA holds its lease: Sluice only reads until that ends", "namespace", leader, "holder", holder)
	case leader == "" && r.leader != "":
		r.log.Info("KEDA no longer holds its lease: Sluice scales", "namespace", r.leader)
	}
	r.leader = leader
}

func sluices(lease *coordinationv1.Lease) bool {
	for key, value := range leaseLabels() {
		if lease.Labels[key] != value {
			return false
		}
	}
	return true
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
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.leader != "" {
			return 1
		}
		return 0
	})
}

// gated holds a reconciler that writes back while a rival leads.
type gated struct {
	reconcile.Reconciler
	rival *rival
}

// Reconcile passes a request on, or puts it off.
func (g gated) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if wait := g.rival.blocks(); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	return g.Reconciler.Reconcile(ctx, request)
}
