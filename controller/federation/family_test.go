package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// family is one instance of a family that speaks sluice.scaler.v1 on a socket.
// It accepts every subscription and observes value for it, unless told
// otherwise.
type family struct {
	scalerv1.UnimplementedScalerServiceServer
	externalscaler.UnimplementedExternalScalerServer

	events   *events
	listener net.Listener
	server   *grpc.Server
	health   *health.Server
	judged   healthpb.HealthServer                          // in place of health, if any
	watch    func(scalerv1.ScalerService_WatchServer) error // in place of Watch, if any

	mu        sync.Mutex
	value     float64
	types     []*scalerv1.TriggerType
	described int
	changing  bool // says something else each time it is asked
	quiet     bool // accepts, but observes only what it is told to
	streams   map[chan *scalerv1.WatchResponse]bool
	subs      map[string]*scalerv1.Subscribe
	log       []string // "+id" and "-id" in order
	asked     []string // requests of externalscaler: "known id" or "full id"
	describe  error
	problems  []string // that Check finds
	metrics   func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error)
}

// newFamily serves on a free port until the test ends.
func newFamily(t *testing.T, e *events, change ...func(*family)) *family {
	t.Helper()
	f := &family{
		events: e, value: 7,
		types: []*scalerv1.TriggerType{{
			Type: "kafka",
			Parameters: []*scalerv1.Parameter{
				{Name: "queue", Question: true},
				{Name: "length", Role: scalerv1.ParameterRole_PARAMETER_ROLE_TARGET},
			},
		}},
		streams: map[chan *scalerv1.WatchResponse]bool{},
		subs:    map[string]*scalerv1.Subscribe{},
	}
	for _, c := range change {
		c(f)
	}
	f.serve(t, "127.0.0.1:0")
	return f
}

// Check finds the queue's name wrong when it is "none".
func (f *family) Check(_ context.Context, r *scalerv1.CheckRequest) (*scalerv1.CheckResponse, error) {
	if r.GetRef().GetScalerMetadata()["queue"] != "none" {
		f.mu.Lock()
		defer f.mu.Unlock()
		return &scalerv1.CheckResponse{Problems: f.problems}, nil
	}
	return &scalerv1.CheckResponse{Problems: []string{"queue: is none"}}, nil
}

func (f *family) serve(t *testing.T, address string) {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f.listener, f.server, f.health = listener, grpc.NewServer(), health.NewServer()
	scalerv1.RegisterScalerServiceServer(f.server, f)
	externalscaler.RegisterExternalScalerServer(f.server, f)
	var judged healthpb.HealthServer = f.health
	if f.judged != nil {
		judged = f.judged
	}
	healthpb.RegisterHealthServer(f.server, judged)
	var serving sync.WaitGroup
	serving.Go(func() { _ = f.server.Serve(listener) })
	server := f.server
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
}

func (f *family) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *family) address() string { return f.listener.Addr().String() }

// kill ends the instance without a word.
func (f *family) kill() { f.server.Stop() }

func (f *family) Describe(context.Context, *scalerv1.DescribeRequest) (*scalerv1.DescribeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	types := f.types
	if f.changing {
		f.described++
		other, _ := proto.Clone(types[0]).(*scalerv1.TriggerType)
		other.Purpose = fmt.Sprint("the ", f.described, ". one")
		types = []*scalerv1.TriggerType{other}
	}
	return &scalerv1.DescribeResponse{Family: "kafka", Version: "v1", TriggerTypes: types}, f.describe
}

func (f *family) Watch(stream scalerv1.ScalerService_WatchServer) error {
	if f.watch != nil {
		return f.watch(stream)
	}
	out := make(chan *scalerv1.WatchResponse, 10000)
	f.mu.Lock()
	f.streams[out] = true
	f.mu.Unlock()
	defer f.forget(out)
	received := make(chan error, 1)
	go func() { received <- f.receive(stream, out) }()
	for {
		select {
		case frame := <-out:
			if err := stream.Send(frame); err != nil {
				return err
			}
		case err := <-received:
			return err
		}
	}
}

func (f *family) forget(out chan *scalerv1.WatchResponse) {
	f.mu.Lock()
	delete(f.streams, out)
	clear(f.subs)
	f.mu.Unlock()
	f.events.happened()
}

func (f *family) receive(stream scalerv1.ScalerService_WatchServer, out chan<- *scalerv1.WatchResponse) error {
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f.take(frame, out)
	}
}

func (f *family) take(frame *scalerv1.WatchRequest, out chan<- *scalerv1.WatchResponse) {
	f.mu.Lock()
	defer f.events.happened()
	defer f.mu.Unlock()
	if gone := frame.GetUnsubscribe(); gone != nil {
		delete(f.subs, gone.GetId())
		f.log = append(f.log, "-"+gone.GetId())
		return
	}
	s := frame.GetSubscribe()
	before := f.subs[s.GetId()]
	f.log = append(f.log, "+"+s.GetId())
	if before != nil && before.GetGeneration() > s.GetGeneration() {
		return
	}
	f.subs[s.GetId()] = s
	if before != nil && before.GetGeneration() == s.GetGeneration() {
		return
	}
	out <- &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Accepted{Accepted: &scalerv1.Accepted{
		Id: s.GetId(), Generation: s.GetGeneration(), Detection: scalerv1.Detection_DETECTION_DOORBELL,
	}}}
	out <- &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Specs{Specs: &scalerv1.Specs{
		Id: s.GetId(), Generation: s.GetGeneration(),
		Specs: []*externalscaler.MetricSpec{{MetricName: "backlog", TargetSizeFloat: 5}},
	}}}
	if !f.quiet {
		out <- observation(s.GetId(), s.GetGeneration(), f.value)
	}
}

func observation(id string, generation int64, value float64) *scalerv1.WatchResponse {
	return &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: &scalerv1.Observation{
		Id: id, Generation: generation, Outcome: scalerv1.Outcome_OUTCOME_VALUE,
		Values: []*scalerv1.Value{{MetricName: "backlog", Value: value, Active: value > 0}},
	}}}
}

// push sends a frame on every stream.
func (f *family) push(frame *scalerv1.WatchResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for out := range f.streams {
		out <- frame
	}
}

func (f *family) drain() {
	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Draining{Draining: &scalerv1.Draining{}}})
}

// has returns the ids that are subscribed now, in order.
func (f *family) has() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.subs))
}

func (f *family) sub(t Trigger) *scalerv1.Subscribe {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.subs[t.String()]
}

func (f *family) history() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

func (f *family) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// GetMetrics answers what it is subscribed to, and full requests.
func (f *family) GetMetrics(ctx context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	ref := r.GetScaledObjectRef()
	metadata := ref.GetScalerMetadata()
	id := metadata[scalerv1.KeyKind] + "/" + ref.GetNamespace() + "/" + ref.GetName() + "/" + metadata[scalerv1.KeyTriggerIndex]
	full := metadata[scalerv1.KeyTriggerType] != ""
	f.mu.Lock()
	_, known := f.subs[id]
	if full {
		f.asked = append(f.asked, "full "+id)
	} else {
		f.asked = append(f.asked, "known "+id)
	}
	value, answer := f.value, f.metrics
	f.mu.Unlock()
	if !full && !known {
		return nil, status.Error(codes.FailedPrecondition, "not subscribed")
	}
	if answer != nil {
		return answer(ctx, r)
	}
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{MetricName: r.GetMetricName(), MetricValueFloat: value}}}, nil
}
