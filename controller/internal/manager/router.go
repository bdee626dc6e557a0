package manager

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// queue is where requests of one controller go.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// feed hands requests to a controller once it runs. What comes earlier is
// dropped: a controller starts with all objects anyway.
type feed struct {
	mu    sync.RWMutex
	queue queue
}

func (f *feed) attach(_ context.Context, q queue) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = q
	return nil
}

func (f *feed) add(key types.NamespacedName) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.queue != nil {
		f.queue.Add(reconcile.Request{NamespacedName: key})
	}
}

// router passes on what the federation heard: everything to the activation loop,
// and to the reconciler what the HPA or the condition Ready depends on. All of
// them, and whoever subscribes, hear of targets that nobody else watches. Of a
// ScaledJob everything goes to the one reconciler that it has.
type router struct {
	states                             func(federation.ID) (federation.State, bool)
	leads                              func() bool // a standby listens to nobody
	observations, specs, subscriptions feed
	jobs                               feed

	mu    sync.Mutex
	known map[federation.ID]said
}

// said is what the reconciler acts on: what it is, and not the texts, of which the
// federation has some KiB.
type said [sha256.Size]byte

func (r *router) changed(id federation.ID) {
	if !r.leads() {
		return
	}
	key := types.NamespacedName{Namespace: id.Namespace, Name: id.Name}
	if id.Kind == scalerv1.KindScaledJob {
		r.jobs.add(key)
		return
	}
	if r.news(id) {
		r.specs.add(key)
	}
	r.observations.add(key)
}

// target asks for the objects that scale a target of any kind by that name.
func (r *router) target(ctx context.Context, objects client.Reader, target types.NamespacedName) {
	for _, request := range scaling(ctx, objects, target) {
		r.subscriptions.add(request.NamespacedName)
		if r.leads() {
			r.specs.add(request.NamespacedName)
			r.observations.add(request.NamespacedName)
		}
	}
}

// everything asks for every object there is. Before the cache has started there
// is none: what it reads then comes as an event.
func (r *router) everything(ctx context.Context, objects client.Reader) {
	var list v1alpha1.ScaledObjectList
	var jobs v1alpha1.ScaledJobList
	if err := errors.Join(objects.List(ctx, &list, client.UnsafeDisableDeepCopy), objects.List(ctx, &jobs, client.UnsafeDisableDeepCopy)); err != nil {
		return
	}
	for i := range list.Items {
		key := client.ObjectKeyFromObject(&list.Items[i])
		r.specs.add(key)
		r.observations.add(key)
	}
	for i := range jobs.Items {
		r.jobs.add(client.ObjectKeyFromObject(&jobs.Items[i]))
	}
}

// forget drops what is known of a trigger that is no longer subscribed.
func (r *router) forget(id federation.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, id)
}

// news reports whether the reconciler has not heard this yet.
func (r *router) news(id federation.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Asked under the lock, so that a trigger is not remembered after forget.
	state, ok := r.states(id)
	if !ok || state.Unkept {
		delete(r.known, id)
		return ok
	}
	now := saidOf(state)
	if r.known == nil {
		r.known = map[federation.ID]said{}
	}
	before, heard := r.known[id]
	r.known[id] = now
	return !heard || before != now
}

func saidOf(state federation.State) (s said) {
	all := sha256.New()
	part := func(text string) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		all.Write(length[:])
		io.WriteString(all, text) //nolint:errcheck // a hash has no errors
	}
	part(strconv.FormatInt(state.Generation, 10))
	for _, err := range []error{state.Rejected, state.Unreachable} {
		if err != nil {
			part(err.Error())
		}
		part("")
	}
	part(state.Note)
	for _, warning := range state.Warnings {
		part(warning)
	}
	part("")
	for _, spec := range state.Specs {
		part(spec.Name)
		part(strconv.FormatFloat(spec.Target, 'g', -1, 64))
	}
	all.Sum(s[:0])
	return s
}

// subscriptions are the federation's. What the router knows of a trigger ends
// with its subscription.
type subscriptions struct {
	*federation.Federation
	router *router
}

// Unsubscribe forgets a trigger.
func (s subscriptions) Unsubscribe(id federation.ID) {
	s.Federation.Unsubscribe(id)
	s.router.forget(id)
}
