package e2e

import (
	"context"
	"maps"
	"net"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// script is an external scaler whose counters a test sets: what an object does
// about a number is then seen without a broker. It pushes each change.
type script struct {
	externalscaler.UnimplementedExternalScalerServer
	address string

	mu       sync.Mutex
	counters map[string]*counter
}

// counter is what one trigger reads.
type counter struct {
	value   float64
	broken  bool
	wrong   string        // how its scaler goes wrong, see rogue
	reads   int           // of the value
	changed chan struct{} // closed and renewed at each change
}

func startScript(t *testing.T) *script {
	t.Helper()
	s := &script{counters: map[string]*counter{}}
	s.address = serveScaler(t, s)
	return s
}

// serveScaler serves an external scaler until the test ends, and returns its
// address.
func serveScaler(t *testing.T, scaler externalscaler.ExternalScalerServer) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(world.cluster.Address(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(server, scaler)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until Stop
	}()
	t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	return listener.Addr().String()
}

// trigger reads a counter, of which one replica is to carry 5, or what more
// says in "perReplica".
func (s *script) trigger(name string, more map[string]string) brokers.Trigger {
	metadata := map[string]string{"scalerAddress": s.address, "counter": name}
	maps.Copy(metadata, more)
	return brokers.Trigger{Type: "external-push", Metadata: metadata}
}

func (s *script) set(name string, value float64) {
	s.change(name, func(c *counter) { c.value, c.broken = value, false })
}

// fail makes reads of a counter fail until it is set again.
func (s *script) fail(name string) { s.change(name, func(c *counter) { c.broken = true }) }

// reads is how often the value of a counter was read.
func (s *script) reads(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counter(name).reads
}

func (s *script) change(name string, change func(*counter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counter(name)
	change(c)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (s *script) counter(name string) *counter {
	c := s.counters[name]
	if c == nil {
		c = &counter{changed: make(chan struct{})}
		s.counters[name] = c
	}
	return c
}

// read is a counter's value and what to wait for before the next.
func (s *script) read(ref *externalscaler.ScaledObjectRef) (value float64, changed <-chan struct{}, err error) {
	name := ref.GetScalerMetadata()["counter"]
	if variable := ref.GetScalerMetadata()["counterFromEnv"]; variable != "" {
		name = variable // resolved on the way, as external scalers are used to
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counter(name)
	if c.broken {
		return 0, c.changed, status.Errorf(codes.Unavailable, "counter %s is broken", name)
	}
	return c.value, c.changed, nil
}

func (s *script) IsActive(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	value, _, err := s.read(ref)
	return &externalscaler.IsActiveResponse{Result: value > 0}, err
}

func (s *script) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	for {
		value, changed, err := s.read(ref)
		if err != nil {
			return err
		}
		if err := stream.Send(&externalscaler.IsActiveResponse{Result: value > 0}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s *script) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	target := 5.0
	if text := ref.GetScalerMetadata()["perReplica"]; text != "" {
		var err error
		if target, err = strconv.ParseFloat(text, 64); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "perReplica: %q is not a number", text)
		}
	}
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{MetricName: "count", TargetSizeFloat: target}}}, nil
}

func (s *script) GetMetrics(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	value, _, err := s.read(r.GetScaledObjectRef())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.counter(r.GetScaledObjectRef().GetScalerMetadata()["counter"]).reads++
	s.mu.Unlock()
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{MetricName: r.GetMetricName(), MetricValueFloat: value}}}, nil
}
