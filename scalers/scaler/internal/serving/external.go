package serving

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// externalService serves the contract that all scalers have in common.
type externalService struct {
	externalscaler.UnimplementedExternalScalerServer
	core *core
}

// GetMetricSpec needs neither source nor credentials, except for a trigger
// whose source names its metrics.
func (e *externalService) GetMetricSpec(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	metrics, err := e.metricSpecs(ctx, trigger.Asked(ref))
	if err != nil {
		return nil, err
	}
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: wireSpecs(metrics)}, nil
}

func (e *externalService) metricSpecs(ctx context.Context, req trigger.Request) ([]contract.Metric, error) {
	if !req.ByReference() {
		t, err := e.core.trigger(ctx, req)
		if err != nil {
			return nil, err
		}
		b, err := e.core.bind(t, req, nil)
		if err != nil {
			return nil, failure.Status(t.Type, err).Err()
		}
		if b.Metrics != nil {
			return b.Metrics, nil
		}
	}
	sub, err := e.core.find(ctx, req)
	if err != nil {
		return nil, err
	}
	return sub.currentSpecs(ctx)
}

// GetMetrics answers from the snapshot; see Sampler.Ask for how long it waits.
func (e *externalService) GetMetrics(ctx context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	sub, err := e.core.find(ctx, trigger.Asked(r.GetScaledObjectRef()))
	if err != nil {
		return nil, err
	}
	o, err := sub.ask(ctx, request{periodic: true, maxAge: maxAge(ctx)})
	if err != nil {
		return nil, err
	}
	name := r.GetMetricName()
	var names []string
	for _, v := range o.values {
		if v.name == name || name == "" && len(o.values) == 1 {
			return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{
				MetricName: v.name, MetricValue: whole(v.value), MetricValueFloat: v.value,
			}}}, nil
		}
		names = append(names, v.name)
	}
	return nil, sub.status(status.Errorf(codes.InvalidArgument, "metric %q is none of this trigger's: %s", name, strings.Join(names, ", ")))
}

// maxAge is how old the caller wants the reading to be at most, 0 where it does not
// say.
func maxAge(ctx context.Context) time.Duration {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(scalerv1.HeaderMaxAge)
	if len(values) != 1 {
		return 0
	}
	age, err := time.ParseDuration(values[0])
	if err != nil {
		return 0
	}
	return max(age, 0)
}

// IsActive is true when any metric exceeds its activation threshold.
func (e *externalService) IsActive(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	sub, err := e.core.find(ctx, trigger.Asked(ref))
	if err != nil {
		return nil, err
	}
	o, err := sub.ask(ctx, request{})
	if err != nil {
		return nil, err
	}
	return &externalscaler.IsActiveResponse{Result: o.active()}, nil
}

// watcher is a subscription of one stream's own, so that the source may ring
// while the stream stands, and a signal of its news.
func (e *externalService) watcher(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*subscription, <-chan struct{}, error) {
	req := trigger.Asked(ref)
	if req.ByReference() {
		registered, err := e.core.registered(ctx, req)
		if err != nil {
			return nil, nil, err
		}
		req = registered.req
	}
	t, err := e.core.trigger(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	facts, _ := req.Facts()
	news := make(chan struct{}, 1)
	sub, err := e.core.subscribe(ctx, t, req, sampling.Wish{Interval: facts.Object.PollingInterval, Idle: true}, func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, nil, failure.Status(t.Type, err).Err()
	}
	return sub, news, nil
}

// next waits for news of a stream's subscription. Without more the stream ends,
// with err.
func (e *externalService) next(ctx context.Context, news <-chan struct{}) (more bool, err error) {
	select {
	case <-news:
		return true, nil
	case <-ctx.Done():
		return false, nil
	case <-e.core.draining:
		return false, status.Error(codes.Unavailable, "this instance is about to go")
	}
}

// StreamIsActive sends the state at the start and each change of it. A failure
// of the source is not an end of the stream: polling tells of it.
func (e *externalService) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	sub, news, err := e.watcher(stream.Context(), ref)
	if err != nil {
		return err
	}
	defer sub.close()
	var told uint64 // activations
	known, active := false, false
	for {
		sub.mu.Lock()
		heard := sub.observation != nil && sub.observation.err == nil
		activations, now := sub.activations, sub.active
		sub.mu.Unlock()
		if heard {
			// A pulse that is over again is sent as what it was.
			if activations > told || !known || now != active {
				if err := stream.Send(&externalscaler.IsActiveResponse{Result: now || activations > told}); err != nil {
					return err
				}
			}
			known, active, told = true, now || activations > told, activations
			if active != now {
				continue
			}
		}
		if more, err := e.next(stream.Context(), news); !more {
			return err
		}
	}
}

// StreamMetricSpec is served for triggers whose source names its metrics. The
// specs of all others do not change while the trigger stays the same.
func (e *externalService) StreamMetricSpec(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error {
	sub, news, err := e.watcher(stream.Context(), ref)
	if err != nil {
		return err
	}
	defer sub.close()
	sub.mu.Lock()
	fixed := sub.binding.Metrics != nil
	sub.mu.Unlock()
	if fixed {
		return status.Errorf(codes.Unimplemented, "metrics of a %s trigger do not change", sub.trigger.Type)
	}
	var sent []contract.Metric
	for {
		sub.mu.Lock()
		specs := sub.specs
		sub.mu.Unlock()
		if specs != nil && !slices.Equal(sent, specs) {
			if err := stream.Send(&externalscaler.GetMetricSpecResponse{MetricSpecs: wireSpecs(specs)}); err != nil {
				return err
			}
			sent = specs
		}
		if more, err := e.next(stream.Context(), news); !more {
			return err
		}
	}
}
