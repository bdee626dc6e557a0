package manager

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// leadership makes one controller of several the one that writes. Losing the
// lease ends a term, not the process: while the API server is away nobody can
// hold a lease, and nothing is gained by starting anew.
type leadership struct {
	// elector is nil for a controller that is alone: it always leads.
	elector electing
	// never keeps this controller from leading: it is a shadow.
	never bool
	// forget is called before a term begins: what this process remembers may be
	// older than what another one stored.
	forget func()
	// began is called when a term has begun: what standbys are asked for is
	// dropped.
	began func(context.Context)
	log   *slog.Logger

	mu   sync.Mutex
	term *term // nil while another leads
}

// electing makes one candidacy.
type electing func(leaderelection.LeaderCallbacks) (*leaderelection.LeaderElector, error)

// term is one time of leading, and the work that is done in it.
type term struct {
	ctx  context.Context //nolint:containedctx // it ends the work of the term
	end  context.CancelFunc
	work sync.WaitGroup
}

// electorOf returns how to stand for election, with the lease named id.
func electorOf(config *rest.Config, o Options) (electing, error) {
	config = rest.AddUserAgent(config, "leader-election")
	// One request that hangs must not cost the lease.
	config.Timeout = o.RenewDeadline / 2
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return elect(clientset, host+"_"+sluiceHolder+string(uuid.NewUUID()), o)
}

// sluiceHolder follows on the Pod's name in the identity of whoever holds a lease
// for Sluice. A KEDA's has none: both may hold the same lease in turn, with
// whatever labels it has, and their Pods may bear the same names.
const sluiceHolder = "sluice-"

// ofSluice reports whether a Sluice holds a lease.
func ofSluice(lease *coordinationv1.Lease) bool {
	_, rest, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	return strings.HasPrefix(rest, sluiceHolder)
}

// elect stands for election under a name.
func elect(clientset kubernetes.Interface, name string, o Options) (electing, error) {
	lock, err := resourcelock.NewWithLabels(resourcelock.LeasesResourceLock, o.Namespace, o.LeaderElectionID,
		clientset.CoreV1(), clientset.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: name}, leaseLabels())
	if err != nil {
		return nil, err
	}
	return func(callbacks leaderelection.LeaderCallbacks) (*leaderelection.LeaderElector, error) {
		return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:          &thrifty{Interface: lock, every: renewEvery(o), now: time.Now},
			LeaseDuration: o.LeaseDuration, RenewDeadline: o.RenewDeadline, RetryPeriod: o.RetryPeriod,
			Callbacks: callbacks, ReleaseOnCancel: true, Name: o.LeaderElectionID,
		})
	}, nil
}

// renewEvery is how far apart the holder's writes of the lease are: so many
// times that losing one or two costs nothing.
func renewEvery(o Options) time.Duration { return (o.LeaseDuration - o.RenewDeadline) / 2 }

// thrifty is a lock whose holder renews it less often than others look at it:
// client-go has one period for both, and a clean hand-over is as quick as that
// period is short. The holder believes in its lease for up to one step longer
// than it was renewed, so a step is shorter than the time between its deadline
// and the lease's end.
type thrifty struct {
	resourcelock.Interface
	every time.Duration
	now   func() time.Time

	last    resourcelock.LeaderElectionRecord
	renewed time.Time // when last was written; zero when it was not
}

// Update writes a record, unless it renews a lease that was renewed just now.
func (t *thrifty) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	since := t.last
	since.RenewTime = record.RenewTime
	if now := t.now(); since != record || now.Sub(t.renewed) >= t.every {
		if err := t.Interface.Update(ctx, record); err != nil {
			t.renewed = time.Time{}
			return err
		}
		t.last, t.renewed = record, now
	}
	return nil
}

// NeedLeaderElection tells controller-runtime that this is what elects.
func (l *leadership) NeedLeaderElection() bool { return false }

// Start stands for election until ctx is done, then ends the work in hand
// before it lets the lease go.
func (l *leadership) Start(ctx context.Context) error {
	defer l.lose()
	if l.never {
		<-ctx.Done()
		return nil
	}
	if l.elector == nil {
		l.lead(ctx)
		<-ctx.Done()
		return nil
	}
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	stop := context.AfterFunc(ctx, func() {
		l.lose()
		release()
	})
	defer stop()
	for holding.Err() == nil {
		elector, err := l.elector(leaderelection.LeaderCallbacks{OnStartedLeading: l.lead, OnStoppedLeading: l.lose})
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		elector.Run(holding)
	}
	return nil
}

// lead begins a term, unless the lease is lost again already.
func (l *leadership) lead(ctx context.Context) {
	t := &term{}
	t.ctx, t.end = context.WithCancel(ctx)
	l.mu.Lock()
	if l.term != nil || ctx.Err() != nil {
		l.mu.Unlock()
		t.end()
		return
	}
	l.forget()
	l.term = t
	l.mu.Unlock()
	l.log.Info("this controller leads")
	l.began(t.ctx) //nolint:contextcheck // it ends with the term, which ends with ctx
}

// forgetIfLeading drops what the term remembers.
func (l *leadership) forgetIfLeading() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != nil {
		l.forget()
	}
}

// beginAgain has everything looked at again, if there is a term.
func (l *leadership) beginAgain(context.Context) {
	l.mu.Lock()
	t := l.term
	l.mu.Unlock()
	if t != nil {
		l.began(t.ctx) //nolint:contextcheck // it ends with the term
	}
}

// lose ends the term and waits for the work that was begun in it.
func (l *leadership) lose() {
	l.mu.Lock()
	t := l.term
	l.term = nil
	l.mu.Unlock()
	if t == nil {
		return
	}
	t.end()
	t.work.Wait()
	l.log.Info("this controller no longer leads")
}

// leads reports whether this controller may write.
func (l *leadership) leads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term != nil
}

// within returns a context that ends with the term too, and what to call when
// the work is done. It is false on a standby.
func (l *leadership) within(ctx context.Context) (working context.Context, done func(), leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.term
	if t == nil {
		return nil, nil, false
	}
	t.work.Add(1)
	working, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(t.ctx, cancel)
	return working, func() {
		stop()
		cancel()
		t.work.Done()
	}, true
}

// onLeader runs a reconciler in the terms of this process alone. What a standby
// is asked for is dropped: everything is asked for when a term begins.
type onLeader struct {
	admitting
	leadership *leadership
}

// Reconcile passes a request on.
func (l onLeader) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	ctx, done, leads := l.leadership.within(ctx)
	if !leads {
		return reconcile.Result{}, nil
	}
	defer done()
	result, err := l.admitting.Reconcile(ctx, request)
	if err != nil && ctx.Err() != nil {
		// The term ended meanwhile; the next leader decides afresh.
		return reconcile.Result{}, nil
	}
	return result, err
}
