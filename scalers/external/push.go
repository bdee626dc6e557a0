package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// externalPush scales on what a gRPC server of the user's says, which also
// tells by itself when work arrives and when its metrics change.
var externalPush = scaler.Define("external-push", openPush, scaler.PassesThrough(), scaler.RingsAt(pushCost))

// Part of a message may be there of every stream, of which each trigger has two
// for as long as it is there.
const (
	mostPushed   = 1 << 10  // a yes or no, in bytes
	mostStreamed = 16 << 10 // a hundred metrics with usual names
)

// pushCost is what a doorbell asks of the server.
const pushCost = "one StreamIsActive for each trigger"

// pushSource asks one server about one trigger and listens to it.
//
// Other doorbells only make the sampler read, and the reading decides. Here
// the server that is read is the one that rings, so its true is an answer: it
// makes the next reading an active one, whatever IsActive says by then. KEDA's
// users rely on that, for their servers pulse. A false is no answer: the way back
// to zero is through polling alone.
type pushSource struct {
	*externalSource
	listens *connection // for the streams
	rate    *limiter    // of their messages
	kind    string
	room    *client.Holding // of --connection-memory, for the streams

	billing sync.Mutex
	open    int // streams that stand or are tried

	// pushed is true when the server said true and no reading has said so yet.
	pushed atomic.Bool
}

// streamsCost is what the streams of one trigger take, in bytes: goroutines and
// buffers on our side of the connection.
const streamsCost = 32 << 10

// openPush connects to nothing yet: the first call does.
func openPush(ctx context.Context, p externalParams) (scaler.Source, error) {
	source, err := open(ctx, p)
	if err != nil {
		return nil, err
	}
	listens, err := p.shareStreams(ctx)
	if err != nil {
		return nil, err
	}
	rate, err := limiterOf(ctx, p.Namespace)
	if err != nil {
		return nil, err
	}
	return &pushSource{externalSource: source, listens: listens, rate: rate, kind: p.Kind, room: client.FurtherServers(ctx)}, nil
}

// stream takes the memory for one of the trigger's streams until ended is called. It
// is an error where there is none: the trigger is then polled.
func (s *pushSource) stream() (ended func(), err error) {
	s.billing.Lock()
	defer s.billing.Unlock()
	if s.open == 0 {
		if err := s.room.Set(streamsCost); err != nil {
			return nil, fmt.Errorf("%w: %w", scaler.ErrDoorbellRefused, err)
		}
	}
	s.open++
	return sync.OnceFunc(func() {
		s.billing.Lock()
		defer s.billing.Unlock()
		if s.open--; s.open == 0 {
			_ = s.room.Set(0) // nothing is refused that is given back
		}
	}), nil
}

// Read is active when the server says so, or has said so by itself since the
// reading before.
func (s *pushSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	pushed := s.pushed.Swap(false)
	readings, err := s.externalSource.Read(ctx)
	if !pushed {
		return readings, err
	}
	if err != nil {
		s.pushed.Store(true) // nobody has heard of it yet
		return nil, err
	}
	for i := range readings {
		readings[i].Activity = activity(true)
	}
	return readings, nil
}

// Listen hears the server say true. For a ScaledJob that is a ring and no
// more: its jobs follow the metric alone.
func (s *pushSource) Listen(ctx context.Context, listening, ring func()) error {
	ended, err := s.stream()
	if err != nil {
		return err
	}
	defer ended()
	err = receive(ctx, s.rate, s.streamActivity, listening, func(m *externalscaler.IsActiveResponse) {
		if !m.GetResult() {
			return
		}
		if s.kind == scalerv1.KindScaledObject {
			s.pushed.Store(true)
		}
		ring()
	})
	return s.streamEnded(ctx, "StreamIsActive", err)
}

// RingsAtWork has true heard above zero, too: as long as it comes the target does
// not go to rest, whatever IsActive says.
func (s *pushSource) RingsAtWork() {}

func (s *pushSource) streamActivity(ctx context.Context) (grpc.ServerStreamingClient[externalscaler.IsActiveResponse], error) {
	return s.listens.StreamIsActive(ctx, s.ref, grpc.MaxCallRecvMsgSize(mostPushed))
}

// WatchSpecs hears the server name its metrics, until the stream ends. It returns nil
// when the server does not stream them or has no room for the stream, or sends more
// than a stream may hold, when there is no memory for it, or they are of a ScaledJob:
// the server is then asked before every read.
func (s *pushSource) WatchSpecs(ctx context.Context, changed func()) error {
	if s.kind != scalerv1.KindScaledObject {
		return nil
	}
	ended, err := s.stream()
	if err != nil {
		return nil // the server is asked instead
	}
	defer ended()
	err = receive(ctx, s.rate, s.streamSpecs, func() {}, func(m *externalscaler.GetMetricSpecResponse) {
		if s.keep(m) {
			changed()
		}
	})
	err = s.streamEnded(ctx, "StreamMetricSpec", err)
	if errors.Is(err, scaler.ErrDoorbellRefused) || errors.Is(err, errNotOpened) || status.Code(err) == codes.ResourceExhausted {
		return nil
	}
	return err
}

// streamEnded says why, which is ctx's error after that has ended.
func (s *pushSource) streamEnded(ctx context.Context, method string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.listens.streamEnded(method, err)
}

func (s *pushSource) streamSpecs(ctx context.Context) (grpc.ServerStreamingClient[externalscaler.GetMetricSpecResponse], error) {
	return s.listens.StreamMetricSpec(ctx, s.ref, grpc.MaxCallRecvMsgSize(mostStreamed))
}
