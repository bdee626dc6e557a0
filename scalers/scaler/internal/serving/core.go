// Package serving has the two gRPC services of a family, the subscriptions of its
// clients, and who may call it.
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// Config is what a Server is made of. Only Family and Triggers are needed.
type Config struct {
	// Family is the family's name, such as "kafka".
	Family string
	// Version is the family's version; default "dev".
	Version string
	// Triggers are the trigger types served.
	Triggers []trigger.Trigger
	// Resolver turns references into credentials. By default there are none,
	// and a trigger that refers to some is told so.
	Resolver contract.Resolver
	// Log receives what an operator acts on; default slog.Default().
	Log *slog.Logger
	// Traces receives a span for every read; by default nothing does.
	Traces trace.TracerProvider
	// ReadTimeout is the longest that one read may take; default scalerv1.ReadDeadline.
	ReadTimeout time.Duration
	// MaxReadTimeout bounds what a trigger may ask for itself; default 60 s.
	MaxReadTimeout time.Duration
	// ShutdownTimeout is how long open streams have to end after Draining
	// before they are cut, and sources to let go; default 10 s.
	ShutdownTimeout time.Duration

	// Pool is what the connections to sources are told.
	Pool pool.Config
}

func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Resolver == nil {
		c.Resolver = NoCredentials{Family: c.Family}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.ReadTimeout <= 0 {
		c.ReadTimeout = scalerv1.ReadDeadline
	}
	if c.MaxReadTimeout <= 0 {
		c.MaxReadTimeout = time.Minute
	}
	if c.ShutdownTimeout <= 0 {
		c.ShutdownTimeout = 10 * time.Second
	}
	return c
}

// core is what the services of a family share: its triggers, the sampler and
// the subscriptions of all clients.
type core struct {
	Config
	triggers map[string]trigger.Trigger
	// detection is how each type announces to detect work.
	detection map[string]scalerv1.Detection
	sampler   *sampling.Sampler
	metrics   *metrics.Metrics
	held      *pool.Allowance // the credentials of subscriptions
	asking    *pool.Allowance // the requests of subscriptions
	guests    *pool.Allowance // subscriptions of whom the core does not stand for
	resolving *inbound.Gate   // of attempts to read credentials, by namespace

	mu       sync.Mutex
	byID     map[string]map[*subscription]struct{}
	asked    map[string]*asked
	draining chan struct{}
	drain    sync.Once
	running  sync.WaitGroup
}

func newCore(cfg Config) *core {
	cfg = cfg.withDefaults()
	m := metrics.New(cfg.Family)
	cfg.Pool.Changed = m.Connections
	c := &core{
		Config: cfg, triggers: map[string]trigger.Trigger{}, metrics: m,
		detection: map[string]scalerv1.Detection{},
		held:      pool.NewAllowance("bytes of credentials", mostHeld, int(budget.Part(heldOfAll))),
		asking:    pool.NewAllowance("bytes of triggers", mostAsking, int(budget.Part(askingOfAll))),
		guests:    pool.NewAllowance("triggers", mostOfGuest, 0),
		resolving: inbound.NewGate(mostResolving, mostResolvingOfOne),
		sampler: sampling.New(sampling.Config{
			Log: cfg.Log, Metrics: m, Spans: cfg.Traces, Pool: pool.New(cfg.Pool),
			ReadTimeout: cfg.ReadTimeout, MaxReadTimeout: cfg.MaxReadTimeout,
		}),
		byID:     map[string]map[*subscription]struct{}{},
		asked:    map[string]*asked{},
		draining: make(chan struct{}),
	}
	for _, t := range cfg.Triggers {
		c.triggers[t.Type] = t
		c.detection[t.Type] = t.Describe().GetDetection()
		m.Announce(t.Type)
	}
	return c
}

// types lists the trigger types served, in order.
func (c *core) types() string {
	var types []string
	for _, t := range c.Triggers {
		types = append(types, t.Type)
	}
	slices.Sort(types)
	return strings.Join(types, ", ")
}

// trigger finds the type that a request is about, and refuses one whose caller
// may not ask it.
func (c *core) trigger(ctx context.Context, req trigger.Request) (trigger.Trigger, error) {
	if err := admit(ctx, req); err != nil {
		return trigger.Trigger{}, err
	}
	t, err := c.triggerNamed(ctx, req)
	if err == nil && t.OfObject() {
		err = admitToObject(ctx, req, "a "+t.Type+" trigger")
	}
	return t, err
}

// triggerNamed finds the type that a request is about.
func (c *core) triggerNamed(ctx context.Context, req trigger.Request) (trigger.Trigger, error) {
	name := req.TriggerType()
	if name != "" {
		if t, ok := c.triggers[name]; ok {
			return t, nil
		}
		return trigger.Trigger{}, status.Errorf(codes.Unimplemented, "trigger type %q is not served by family %s, which serves %s", name, c.Family, c.types())
	}
	if len(c.Triggers) == 1 {
		return c.Triggers[0], nil
	}
	// A client that knows nothing of types still called one's Service.
	host, _, _ := strings.Cut(authority(ctx), ":")
	host, _, _ = strings.Cut(host, ".")
	if t, ok := c.triggers[strings.TrimPrefix(host, "scaler-")]; ok {
		return t, nil
	}
	return trigger.Trigger{}, status.Errorf(codes.InvalidArgument, "%s: is required by family %s, which serves %s", scalerv1.KeyTriggerType, c.Family, c.types())
}

// registered finds the subscription that a request by reference names, and
// refuses a caller that may not ask it.
func (c *core) registered(ctx context.Context, req trigger.Request) (*subscription, error) {
	id, generation := req.Identity()
	if err := admitToObject(ctx, req, "subscription "+id); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for sub := range c.byID[id] {
		if fmt.Sprint(sub.generation) == generation {
			return sub, admit(ctx, sub.req)
		}
	}
	return nil, status.Errorf(codes.FailedPrecondition, "no subscription %s of generation %s: send the whole trigger", id, generation)
}

func (c *core) register(sub *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[sub.id] == nil {
		c.byID[sub.id] = map[*subscription]struct{}{}
	}
	c.byID[sub.id][sub] = struct{}{}
	c.metrics.Subscriptions(sub.trigger.Type, 1)
}

func (c *core) unregister(sub *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[sub.id][sub]; !ok {
		return
	}
	delete(c.byID[sub.id], sub)
	if len(c.byID[sub.id]) == 0 {
		delete(c.byID, sub.id)
	}
	c.metrics.Subscriptions(sub.trigger.Type, -1)
}

// startDraining tells every stream that this instance is about to go.
func (c *core) startDraining() { c.drain.Do(func() { close(c.draining) }) }

// errGone is the failure of a subscription that ended while it was asked.
var errGone = errors.New("the subscription has ended")
