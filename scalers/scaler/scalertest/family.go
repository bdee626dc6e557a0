// Package scalertest tests trigger types the way users meet them: the real
// client talks to a real server, and the request arrives over real gRPC.
package scalertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// patience bounds calls whose ctx has no deadline, so that a test that hangs
// says where.
const patience = 20 * time.Second

// Family is a served family and what its requests carry.
type Family struct {
	// External and Scaler are clients of the two services, for what the
	// methods below do not cover.
	External externalscaler.ExternalScalerClient
	Scaler   scalerv1.ScalerServiceClient

	server   *scaler.Server
	vault    *vault
	ref      string            // the authenticationRef of requests, or ""
	reserved map[string]string // further reserved keys of requests
}

// Observation is what the autoscaler is told about one metric.
type Observation struct {
	// Value is in the unit of the target.
	Value float64
	// Active is true when the trigger asks for at least one replica.
	Active bool
}

// Serve runs a family of these triggers in memory until the test ends.
func Serve(t testing.TB, triggers ...scaler.Trigger) *Family {
	t.Helper()
	v := &vault{credentials: map[string]*scaler.Credentials{}, changed: map[string]bool{}}
	server := scaler.New(scaler.Config{
		Family: "test", Triggers: triggers, Resolver: v, ShutdownTimeout: 5 * time.Second,
	})
	listener := bufconn.Listen(1 << 16)
	stop := Background(t, server, listener)
	//dials:nothing it is in memory
	conn, err := grpc.NewClient("passthrough:///family",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		t.Fatalf("connect to the family: %v", err)
	}
	t.Cleanup(func() {
		conn.Close()
		stop()
	})
	return &Family{
		External: externalscaler.NewExternalScalerClient(conn),
		Scaler:   scalerv1.NewScalerServiceClient(conn),
		server:   server,
		vault:    v,
	}
}

// Background serves a family on l and returns the function that stops it and
// waits for its end.
func Background(t testing.TB, server *scaler.Server, l net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// WithAuth returns the family as seen by objects whose authentication object
// has these parameters.
func (f *Family) WithAuth(parameters map[string]string) *Family {
	return f.with(func(c *scaler.Credentials) { c.Parameters = maps.Clone(parameters) })
}

// WithClusterAuth returns the family as seen by objects that use the
// ClusterTriggerAuthentication of this name with these parameters.
func (f *Family) WithClusterAuth(name string, parameters map[string]string) *Family {
	return f.WithAuth(parameters).with(func(c *scaler.Credentials) { c.FixedBy = "ClusterTriggerAuthentication " + name })
}

// WithEnv returns the family as seen by objects whose target has this
// environment.
func (f *Family) WithEnv(env map[string]string) *Family {
	return f.with(func(c *scaler.Credentials) { c.Env = maps.Clone(env) })
}

// WithPodIdentity returns the family as seen by objects whose authentication
// object asks for this identity.
func (f *Family) WithPodIdentity(id scaler.PodIdentity) *Family {
	return f.with(func(c *scaler.Credentials) { c.PodIdentity = id })
}

// WithReserved returns the family as seen by a core that sets these reserved
// keys, such as scalerv1.KeyPollingInterval.
func (f *Family) WithReserved(keys map[string]string) *Family {
	other := *f
	other.reserved = maps.Clone(f.reserved)
	if other.reserved == nil {
		other.reserved = map[string]string{}
	}
	maps.Copy(other.reserved, keys)
	return &other
}

func (f *Family) with(set func(*scaler.Credentials)) *Family {
	other := *f
	other.ref = f.vault.add(f.ref, set)
	return &other
}

// Rotate replaces the authentication parameters of f and of the families made
// from it, as an edit of a Secret does.
func (f *Family) Rotate(parameters map[string]string) {
	f.vault.change(f.ref, func(c *scaler.Credentials) { c.Parameters = maps.Clone(parameters) })
}

// Ref is a request for a trigger of this type.
func (f *Family) Ref(triggerType string, metadata map[string]string) *externalscaler.ScaledObjectRef {
	all := map[string]string{scalerv1.KeyTriggerType: triggerType, scalerv1.KeyKind: scalerv1.KindScaledObject} // as the core says
	if f.ref != "" {
		all[scalerv1.KeyAuthenticationRef] = f.ref
	}
	maps.Copy(all, f.reserved)
	maps.Copy(all, metadata)
	return &externalscaler.ScaledObjectRef{Name: "app", Namespace: "default", ScalerMetadata: all}
}

// Specs returns the trigger's metrics and targets.
func (f *Family) Specs(ctx context.Context, triggerType string, metadata map[string]string) ([]*externalscaler.MetricSpec, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	answer, err := f.External.GetMetricSpec(ctx, f.Ref(triggerType, metadata))
	return answer.GetMetricSpecs(), err
}

// Observe reads a trigger with one metric now.
func (f *Family) Observe(ctx context.Context, triggerType string, metadata map[string]string) (Observation, error) {
	all, active, err := f.read(ctx, triggerType, metadata)
	if err != nil {
		return Observation{}, err
	}
	if len(all) != 1 {
		return Observation{}, fmt.Errorf("%s has %d metrics: use ObserveAll", triggerType, len(all))
	}
	for _, value := range all {
		return Observation{Value: value, Active: active}, nil
	}
	panic("unreachable")
}

// ObserveAll reads a trigger now and returns its metrics by name, and whether
// any of them is active.
func (f *Family) ObserveAll(ctx context.Context, triggerType string, metadata map[string]string) (map[string]float64, bool, error) {
	return f.read(ctx, triggerType, metadata)
}

// read reads once, or, after Rotate, until the new credentials are in use: a
// look at the old ones may be under way.
func (f *Family) read(ctx context.Context, triggerType string, metadata map[string]string) (map[string]float64, bool, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	for {
		values, active, err := f.readOnce(ctx, triggerType, metadata)
		refused := status.Code(err) == codes.Unauthenticated || status.Code(err) == codes.PermissionDenied
		if !refused || !f.vault.rotated(f.ref) || ctx.Err() != nil {
			return values, active, err
		}
	}
}

func (f *Family) readOnce(ctx context.Context, triggerType string, metadata map[string]string) (map[string]float64, bool, error) {
	// A source that a test has read before may say something else by now.
	if err := f.server.Refresh(ctx); err != nil {
		return nil, false, err
	}
	ref := f.Ref(triggerType, metadata)
	specs, err := f.External.GetMetricSpec(ctx, ref)
	if err != nil {
		return nil, false, err
	}
	values := map[string]float64{}
	for _, spec := range specs.GetMetricSpecs() {
		answer, err := f.External.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: spec.GetMetricName()})
		if err != nil {
			return nil, false, err
		}
		for _, v := range answer.GetMetricValues() {
			values[spec.GetMetricName()] += v.GetMetricValueFloat()
		}
	}
	active, err := f.External.IsActive(ctx, ref)
	if err != nil {
		return nil, false, err
	}
	return values, active.GetResult(), nil
}

// Open opens a source of a trigger directly, for tests of the source alone.
// What it takes from the pool of connections is released when the test ends.
func Open[P scaler.Params](t testing.TB, open scaler.Open[P], params P) (scaler.Source, error) {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	source, err := open(ctx, params)
	t.Cleanup(func() {
		if err == nil {
			if err := closeSource(source); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		release()
	})
	return source, err
}

func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, patience, errors.New("the family did not answer"))
}

// vault resolves references from memory.
type vault struct {
	mu          sync.Mutex
	credentials map[string]*scaler.Credentials
	changed     map[string]bool
}

// add makes a reference to what from refers to with a change applied.
func (v *vault) add(from string, set func(*scaler.Credentials)) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	creds := scaler.Credentials{}
	if old := v.credentials[from]; old != nil {
		creds = *old
	}
	set(&creds)
	name := fmt.Sprintf("TriggerAuthentication/test-%d", len(v.credentials))
	v.credentials[name] = &creds
	return name
}

func (v *vault) change(name string, set func(*scaler.Credentials)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	creds := *v.credentials[name]
	set(&creds)
	v.credentials[name] = &creds
	v.changed[name] = true
}

// rotated reports whether what a reference leads to was changed.
func (v *vault) rotated(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed[name]
}

// Resolve implements scaler.Resolver.
func (v *vault) Resolve(_ context.Context, ref scaler.Reference) (*scaler.Credentials, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if creds := v.credentials[ref.Authentication]; creds != nil {
		return creds, nil
	}
	return nil, status.Errorf(codes.NotFound, "authenticationRef %s does not exist", ref.Authentication)
}
