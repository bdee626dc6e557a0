package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// external scales on what a gRPC server of the user's says.
var external = scaler.Define("external", openExternal, scaler.PassesThrough())

// externalParams is the metadata of an external trigger. Every key of it goes
// to the server, these included.
type externalParams struct {
	// The server is told name, namespace and metadata, so two objects never
	// ask the same question.
	scaler.Object `question:"true"`
	tlsParams

	// ScalerAddress is host:port of the server. Of gRPC's other forms, such as
	// dns:///host:port, only that part is written here.
	ScalerAddress string `param:"scalerAddress,required"`
}

// Validate checks the address.
func (p externalParams) Validate() error {
	if _, _, err := outbound.HostPort(p.ScalerAddress); err != nil {
		return fmt.Errorf("scalerAddress: %w", err)
	}
	return nil
}

// Metrics is nil: the server names its metrics.
func (p externalParams) Metrics() []scaler.Metric { return nil }

// externalSource asks one server about one trigger.
type externalSource struct {
	conn *connection
	ref  *externalscaler.ScaledObjectRef
	// anyTarget is true when the trigger only feeds a formula.
	anyTarget bool

	mu       sync.Mutex
	specs    []scaler.Metric // as Specs returned them last
	streamed *announcement   // what the server sent last, unasked, or nil
}

// announcement is a list of metrics, or what is wrong with it.
type announcement struct {
	specs []scaler.Metric
	err   error
}

// openExternal connects to nothing yet: the first call does.
func openExternal(ctx context.Context, p externalParams) (scaler.Source, error) {
	return open(ctx, p)
}

func open(ctx context.Context, p externalParams) (*externalSource, error) {
	conn, err := p.share(ctx)
	if err != nil {
		return nil, err
	}
	return &externalSource{
		conn: conn,
		ref: &externalscaler.ScaledObjectRef{
			Name: p.Name, Namespace: p.Namespace, ScalerMetadata: p.Metadata,
		},
		anyTarget: p.MetricSource,
	}, nil
}

// Both are more than a Source, and the sampler finds that out by itself.
var (
	_ scaler.Specced      = (*externalSource)(nil)
	_ scaler.Specced      = (*pushSource)(nil)
	_ scaler.RingerAtWork = (*pushSource)(nil)
)

// Specs asks the server for its metrics, unless it has sent them by itself:
// those stand as long as the trigger does.
func (s *externalSource) Specs(ctx context.Context) ([]scaler.Metric, error) {
	specs, err := s.announced(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs = specs
	return specs, nil
}

func (s *externalSource) announced(ctx context.Context) ([]scaler.Metric, error) {
	s.mu.Lock()
	streamed := s.streamed
	s.mu.Unlock()
	if streamed != nil {
		return streamed.specs, streamed.err
	}
	return s.askSpecs(ctx)
}

// keep notes the metrics that the server sent unasked, unless the list is
// empty, which means nothing.
func (s *externalSource) keep(sent *externalscaler.GetMetricSpecResponse) bool {
	if len(sent.GetMetricSpecs()) == 0 {
		return false
	}
	specs, err := metricsOf(sent, s.anyTarget)
	if err != nil {
		err = s.conn.wrong("StreamMetricSpec", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streamed = &announcement{specs: specs, err: err}
	return true
}

func (s *externalSource) askSpecs(ctx context.Context) ([]scaler.Metric, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	answer, err := s.conn.GetMetricSpec(ctx, s.ref)
	if err != nil {
		return nil, s.conn.failed("GetMetricSpec", err)
	}
	specs, err := metricsOf(answer, s.anyTarget)
	if err != nil {
		return nil, s.conn.wrong("GetMetricSpec", err)
	}
	return specs, nil
}

// WatchSpecs has nothing to listen to: the server is asked before every read.
func (s *externalSource) WatchSpecs(context.Context, func()) error { return nil }

// Read asks for the trigger's activity, which is that of all its metrics, and then
// for the value of each. In this order work that arrives between the two does not
// look like one that is there without a number: the target would start with one
// replica where the number asks for more.
func (s *externalSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	s.mu.Lock()
	specs := s.specs
	s.mu.Unlock()
	active, err := s.active(ctx)
	if err != nil {
		return nil, err
	}
	readings := make([]scaler.Reading, len(specs))
	for i, spec := range specs {
		value, err := s.value(ctx, spec.Name)
		if err != nil {
			return nil, err
		}
		readings[i] = scaler.Reading{Value: value, Activity: activity(active)}
	}
	return readings, nil
}

func (s *externalSource) value(ctx context.Context, metric string) (float64, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	answer, err := s.conn.GetMetrics(ctx, &externalscaler.GetMetricsRequest{
		ScaledObjectRef: s.ref, MetricName: metric,
	})
	if err != nil {
		return 0, s.conn.failed("GetMetrics", err)
	}
	value, err := valueOf(answer)
	if err != nil {
		return 0, fmt.Errorf("server %s: metric %s: %w", s.conn.address, metric, err)
	}
	return value, nil
}

func (s *externalSource) active(ctx context.Context) (bool, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	answer, err := s.conn.IsActive(ctx, s.ref)
	if err != nil {
		return false, s.conn.failed("IsActive", err)
	}
	return answer.GetResult(), nil
}

// activity is held against an activation threshold of 0.
func activity(active bool) float64 {
	if active {
		return 1
	}
	return 0
}
