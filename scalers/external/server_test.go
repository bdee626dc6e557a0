package main

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// userServer is a user's server on loopback. What it does not set it answers
// like a well-behaved one: metric "jobs" with target 5, value 7, active.
type userServer struct {
	externalscaler.UnimplementedExternalScalerServer
	address string
	server  *grpc.Server

	specs        func(*externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error)
	metrics      func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error)
	active       func(context.Context) (bool, error)
	streamActive func(grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error
	streamSpecs  func(grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error

	mu      sync.Mutex
	refs    []*externalscaler.ScaledObjectRef // as they came
	calls   map[string]int
	conns   atomic.Int64 // that were accepted
	changed chan struct{}
}

// startServer serves s on loopback until the test ends.
func startServer(t testing.TB, s *userServer, options ...grpc.ServerOption) *userServer {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startServerOn(t, s, l, options...)
}

func startServerOn(t testing.TB, s *userServer, l net.Listener, options ...grpc.ServerOption) *userServer {
	t.Helper()
	s.address, s.calls, s.changed = l.Addr().String(), map[string]int{}, make(chan struct{}, 1)
	s.server = grpc.NewServer(options...)
	externalscaler.RegisterExternalScalerServer(s.server, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Its error is that of being stopped.
		_ = s.server.Serve(&countedListener{Listener: l, accepted: &s.conns})
	}()
	t.Cleanup(func() {
		s.server.Stop()
		<-done
	})
	return s
}

// countedListener counts what it accepts.
type countedListener struct {
	net.Listener
	accepted *atomic.Int64
}

func (l *countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

func withTLS(config *tls.Config) grpc.ServerOption {
	return grpc.Creds(credentials.NewTLS(config))
}

// came notes a call.
func (s *userServer) came(call string, ref *externalscaler.ScaledObjectRef) {
	s.mu.Lock()
	s.calls[call]++
	s.refs = append(s.refs, ref)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *userServer) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// until waits for a call to have come so often.
func (s *userServer) until(t *testing.T, call string, times int) {
	t.Helper()
	for s.count(call) < times {
		select {
		case <-s.changed:
		case <-t.Context().Done():
			t.Fatalf("%s came %d times, want %d", call, s.count(call), times)
		}
	}
}

func (s *userServer) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	s.came("GetMetricSpec", ref)
	if s.specs != nil {
		return s.specs(ref)
	}
	return specs(spec("jobs", 5)), nil
}

func (s *userServer) GetMetrics(ctx context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	s.came("GetMetrics "+r.GetMetricName(), r.GetScaledObjectRef())
	if s.metrics != nil {
		return s.metrics(ctx, r)
	}
	return values(float(7)), nil
}

func (s *userServer) IsActive(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	s.came("IsActive", ref)
	if s.active == nil {
		return &externalscaler.IsActiveResponse{Result: true}, nil
	}
	active, err := s.active(ctx)
	return &externalscaler.IsActiveResponse{Result: active}, err
}

func (s *userServer) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	s.came("StreamIsActive", ref)
	if s.streamActive == nil {
		return status.Error(codes.Unimplemented, "no streams here")
	}
	return s.streamActive(stream)
}

func (s *userServer) StreamMetricSpec(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error {
	s.came("StreamMetricSpec", ref)
	if s.streamSpecs == nil {
		return status.Error(codes.Unimplemented, "no streams here")
	}
	return s.streamSpecs(stream)
}

// silent is a stream that says nothing until its client leaves.
func silent[M any](stream grpc.ServerStreamingServer[M]) error {
	<-stream.Context().Done()
	return nil
}

func specs(list ...*externalscaler.MetricSpec) *externalscaler.GetMetricSpecResponse {
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: list}
}

func spec(name string, target float64) *externalscaler.MetricSpec {
	return &externalscaler.MetricSpec{MetricName: name, TargetSizeFloat: target}
}

func values(list ...*externalscaler.MetricValue) *externalscaler.GetMetricsResponse {
	return &externalscaler.GetMetricsResponse{MetricValues: list}
}

func float(value float64) *externalscaler.MetricValue {
	return &externalscaler.MetricValue{MetricName: "whatever", MetricValueFloat: value}
}

func integer(value int64) *externalscaler.MetricValue {
	return &externalscaler.MetricValue{MetricValue: value} //nolint:staticcheck // what older servers send
}
