// Package federation finds scaler families by the names of their Services,
// keeps connections to them, tells them which triggers there are and remembers
// what they observe. It is the core's only way to a family and is shared by
// the controller, which subscribes, and the metrics adapter, which asks.
//
// A trigger of type T is served by the Service scaler-T in the installation's
// namespace. Nothing else registers a family.
//
//	trigger.go     what is asked for               state.go      what is known
//	request.go     a trigger on the wire           question.go   who is asked
//	discovery.go   Services and their addresses    instance.go   one connection
//	watch.go       families with sluice.scaler.v1  classic.go    all others
//	placement.go   which instance has a trigger    ask.go        single questions
//	scaledobject.go, workload.go  triggers of an object
//	collect.go     readiness and metrics
package federation

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Transport returns the credentials of connections to a family, whose server
// identity is "<family>.scaler.<installation>". It is the one place where
// transport security of the core is decided: it is called once per connection,
// and what it returns follows rotated keys by itself.
type Transport func(family string) (credentials.TransportCredentials, error)

// Config is what a Federation is made of.
type Config struct {
	// Namespace is the installation's; its Services named scaler-* are the
	// families.
	Namespace string
	// Client reads Services and EndpointSlices in Namespace, and no more.
	Client kubernetes.Interface
	// Transport secures connections. Without it only families whose Service
	// says appProtocol kubernetes.io/h2c can be reached.
	Transport Transport
	// NoData is what a reading without data becomes where the object does not
	// say: hold, error or zero. "" leaves it to the trigger.
	NoData string
	// AllowPlaintext accepts families whose Service says kubernetes.io/h2c.
	AllowPlaintext bool
	// MostOfNamespace is how many triggers of one family a namespace may have, of all
	// types it is twice as many, whether they are served or not; 0 is any number.
	MostOfNamespace int
	// Memory is what the triggers of all namespaces may take, in bytes, with what is
	// said of them, each namespace at most twice what it leaves to others; 0 is any
	// number.
	Memory int
	// Dial is added to what every connection is made with: for measuring and
	// tracing calls.
	Dial []grpc.DialOption
	// Changed is called after the State of a subscribed trigger changed: an
	// observation, a beat, specs, accepted, rejected, reachable or not. Calls
	// come from one goroutine, and several changes of one trigger may be told
	// by one call. It must not block. May be nil.
	Changed func(ID)
	// ServicesChanged is called after a Service of a family changed. It must not
	// block. May be nil.
	ServicesChanged func()
	// Log receives what an operator acts on. nil is slog.Default.
	Log *slog.Logger
	// Clock is the time. nil is the real one.
	Clock clock.WithTicker
}

// Federation is the core's view of all families.
type Federation struct {
	config    Config
	log       *slog.Logger
	clock     clock.WithTicker
	notifier  *notifier
	recent    *recent
	displaced chan struct{} // one token: some subscription sits where it should not
	synced    chan struct{} // closed when every Service was seen once
	judged    atomic.Bool   // every instance was judged once

	// mu guards who is where. It is never held while something is sent,
	// received or called back.
	mu        sync.Mutex
	directory *directory
	spawn     func(run func(context.Context)) context.CancelFunc // nil unless running
	services  map[string]*service                                // by trigger type
	installed *installed
	instances map[instanceKey]*instance
	subs      map[string]*subscription // by id
	shares    shares
	places    *places
}

// New returns a Federation that knows nothing until it is started.
func New(config Config) *Federation {
	f := &Federation{
		config:    config,
		log:       config.Log,
		clock:     config.Clock,
		notifier:  newNotifier(),
		displaced: make(chan struct{}, 1),
		synced:    make(chan struct{}),
		services:  map[string]*service{},
		installed: &installed{},
		instances: map[instanceKey]*instance{},
		subs:      map[string]*subscription{},
		shares:    newShares(config.MostOfNamespace),
		places:    newPlaces(config.MostOfNamespace, config.Memory),
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	if f.clock == nil {
		f.clock = clock.RealClock{}
	}
	f.recent = newRecent(f.clock)
	return f
}

// Start watches, connects and observes until ctx is done, then waits for all
// that it started. It is called once.
func (f *Federation) Start(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	directory, err := newDirectory(f.config, f.refresh)
	f.directory = directory
	f.spawn = func(run func(context.Context)) context.CancelFunc {
		own, stop := context.WithCancel(ctx)
		guard.Go(&running, "the connection to an instance", "", func() {
			defer stop()
			guard.Loop(own, "the connection to an instance", "", func() { run(own) })
		})
		return stop
	}
	f.mu.Unlock()
	if err != nil {
		return fmt.Errorf("follow Services in namespace %s: %w", f.config.Namespace, err)
	}
	defer f.halt()
	guard.Go(&running, "notices", "", func() { f.notifier.run(ctx, f.tell) })
	guard.Go(&running, "moves", "", func() {
		guard.Loop(ctx, "moves", "", func() { f.move(ctx) })
	})
	if directory.start(ctx) {
		f.know()
	}
	<-ctx.Done()
	return nil
}

// halt stops looking before the goroutines are waited for, so that none is
// added meanwhile.
func (f *Federation) halt() {
	f.directory.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spawn = nil
}

func (f *Federation) tell(id ID) {
	if f.config.Changed != nil {
		f.config.Changed(id)
	}
}

// NeedLeaderElection tells controller-runtime that standbys observe, too.
func (f *Federation) NeedLeaderElection() bool { return false }

// Subscribe adds a trigger or replaces the one of the same ID. What was
// observed stays when only generation, mode, intervals or doorbell differ.
// It never blocks on a family and may be called before Start. It reports whether
// the trigger is kept: one that is not has to be subscribed again, once its
// namespace has fewer.
func (f *Federation) Subscribe(t Trigger) (kept bool) {
	t = f.withDefaults(t)
	bytes := bytesOf(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	id := t.String()
	sub := f.subs[id]
	if sub == nil {
		if f.places.take(t.Namespace, 1, bytes) != nil {
			f.notifier.mark(t.ID)
			return false
		}
		sub = &subscription{id: id, namespace: t.Namespace, bytes: bytes, places: f.places, was: f.notifier.mark}
		f.subs[id] = sub
	} else if before := sub.snapshot(); before.Generation == t.Generation && before.same(t) {
		if sub.updatePacing(t) {
			sub.eachAssignment(func(s *assignment) { s.subscriber.updatePacing(s) })
		}
		return true
	} else if f.places.take(t.Namespace, 0, bytes-sub.bytes) != nil { // it has grown
		f.drop(sub)
		f.notifier.mark(t.ID)
		return false
	} else {
		sub.bytes = bytes
	}
	f.replace(sub, t)
	return true
}

// withDefaults adds what the installation says where the object does not.
func (f *Federation) withDefaults(t Trigger) Trigger {
	t.NoData = cmp.Or(t.NoData, f.config.NoData)
	return t
}

// Unsubscribe forgets a trigger; an unknown one is ignored.
func (f *Federation) Unsubscribe(id ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sub := f.subs[id.String()]; sub != nil {
		f.drop(sub)
	}
}

// drop ends a subscription; f.mu is held.
func (f *Federation) drop(sub *subscription) {
	delete(f.subs, sub.id)
	f.leave(sub)
	f.makeRoom(f.shares.leave(sub))
	f.places.leave(sub.namespace, 1, sub.bytes)
	sub.forget()
}

// State returns what is known of a trigger. It is false for one that is not
// subscribed, unless its namespace has so many that it is not kept.
func (f *Federation) State(id ID) (State, bool) {
	name := id.String()
	f.mu.Lock()
	sub := f.subs[name]
	var refused error
	if sub == nil {
		refused = f.places.refuses(id.Namespace, 1, large)
	}
	f.mu.Unlock()
	if sub == nil {
		return State{Unkept: refused != nil, Unreachable: refused}, refused != nil
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.state, true
}

// Types are the trigger types that have a Service, in the order of their names.
func (f *Federation) Types() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.installed.types)
}

// installed are the types that have a Service, in the order of their names. They
// are not changed, but replaced: who may subscribe makes up as many types as they
// like, and none of them is looked through again for each of the others.
type installed struct{ types []string }

// noteInstalled takes note that a type has got a Service, or lost it; the
// Federation's lock is held.
func (f *Federation) noteInstalled() {
	next := &installed{}
	for name, s := range f.services {
		if s.exists {
			next.types = append(next.types, name)
		}
	}
	slices.Sort(next.types)
	f.installed = next
}

// absent says why a type has no Service; f.mu is held.
func (f *Federation) absent(triggerType string) error {
	installed, namespace := f.installed, f.config.Namespace
	return whenRead(func() error { return Absent(triggerType, namespace, installed.types) })
}

// absence is why a type has no Service, beside certain others that have one.
type absence struct {
	beside *installed
	err    error
}

// absentService is absent for a type that is subscribed, of which it is found out
// once.
func (f *Federation) absentService(s *service) error {
	if s.absence.beside != f.installed {
		s.absence = absence{f.installed, f.absent(s.triggerType)}
	}
	return s.absence.err
}

// Describe returns what the family says of a trigger type, from memory. It is
// ErrNoDescription when the family does not describe itself, as third parties
// may, and otherwise says why nobody can be asked, naming the Service.
func (f *Federation) Describe(triggerType string) (*scalerv1.TriggerType, error) {
	if err := CheckType(triggerType); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.knows() {
		return nil, errUnknownYet(f.config.Namespace)
	}
	s := f.services[triggerType]
	switch {
	case s == nil || !s.exists:
		return nil, f.absent(triggerType)
	case s.description != nil:
		return s.description, nil
	case s.family != nil:
		return nil, errService(triggerType, f.config.Namespace, "is of family %s, which does not serve that type", s.family.GetFamily())
	}
	if err := f.unreachable(s); err != nil {
		return nil, err
	}
	if s.anyReady() {
		return nil, ErrNoDescription
	}
	return nil, errUnknownYet(f.config.Namespace)
}
