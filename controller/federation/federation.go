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
package federation

import (
	"context"
	"log/slog"

	"google.golang.org/grpc/credentials"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

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
	// AllowPlaintext accepts families whose Service says kubernetes.io/h2c.
	AllowPlaintext bool
	// Changed is called after the State of a subscribed trigger changed: an
	// observation, a beat, specs, accepted, rejected, reachable or not. Calls
	// come from one goroutine, and several changes of one trigger may be told
	// by one call. It must not block. May be nil.
	Changed func(ID)
	// Log receives what an operator acts on. nil is slog.Default.
	Log *slog.Logger
	// Clock is the time. nil is the real one.
	Clock clock.WithTicker
}

// New returns a Federation that knows nothing until it is started.
func New(config Config) *Federation { return &Federation{config: config} }

// Federation is the core's view of all families.
type Federation struct{ config Config }

// Start watches, connects and observes until ctx is done, then waits for all
// that it started. It is called once.
func (f *Federation) Start(ctx context.Context) error { <-ctx.Done(); return nil }

// NeedLeaderElection tells controller-runtime that standbys observe, too.
func (f *Federation) NeedLeaderElection() bool { return false }

// Subscribe adds a trigger or replaces the one of the same ID. What was
// observed stays when only generation, mode, intervals or doorbell differ.
// It never blocks on a family and may be called before Start.
func (f *Federation) Subscribe(t Trigger) {}

// Unsubscribe forgets a trigger; an unknown one is ignored.
func (f *Federation) Unsubscribe(id ID) {}

// State returns what is known of a trigger. It is false for one that is not
// subscribed.
func (f *Federation) State(id ID) (State, bool) { return State{}, false }

// GetMetrics returns the current value of one metric of a trigger that need
// not be subscribed here: what the family answers, summed up if there are
// several values. It is finite and not negative.
//
// The instance that also has the controller's subscription is asked by the
// trigger's identity alone; when it does not know it, the next one, and at
// last by the full request. An instance that is gone is passed over. It all
// happens within ctx's deadline. ErrNoData when the family has nothing to say;
// other errors carry a gRPC code (status.Code) and the family's text, or name
// the Service that could not be asked.
func (f *Federation) GetMetrics(ctx context.Context, t Trigger, metric string) (float64, error) { return 0, ErrNoData }

// Specs returns the metrics of a trigger that need not be subscribed here.
// Errors are those of GetMetrics.
func (f *Federation) Specs(ctx context.Context, t Trigger) ([]MetricSpec, error) { return nil, nil }

// IsActive reports whether a trigger that need not be subscribed here asks for
// at least one replica. Errors are those of GetMetrics.
func (f *Federation) IsActive(ctx context.Context, t Trigger) (bool, error) { return false, nil }

// Describe returns what the family says of a trigger type, from memory. It is
// ErrNoDescription when the family does not describe itself, as third parties
// may, and otherwise says why nobody can be asked, naming the Service.
func (f *Federation) Describe(triggerType string) (*scalerv1.TriggerType, error) { return nil, ErrNoDescription }
