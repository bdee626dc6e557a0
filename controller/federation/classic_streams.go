package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/utils/clock"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

const (
	// streamRetry and streamRetryMax are KEDA's; jitter is ours.
	streamRetry    = 2 * time.Second
	streamRetryMax = 60 * time.Second
)

// streams are what a polled peer may push: activity and metric specs. Both are
// one stream per trigger by contract. They share a connection of their own,
// because servers bound the streams of a connection, and streams that never
// end would leave no room for polls.
type streams struct {
	poller  *poller
	running sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	conn    *grpc.ClientConn

	// Set once the peer said that it does not offer the stream.
	noActivity, noSpecs atomic.Bool
}

func newStreams(p *poller) *streams { return &streams{poller: p} }

// open opens the streams of a poll unless they are.
func (s *streams) open(ctx context.Context, q *poll, ref *externalscaler.ScaledObjectRef) {
	if s.noActivity.Load() && s.noSpecs.Load() {
		return
	}
	client, err := s.client()
	if err != nil {
		return // the poll meets the same obstacle and tells it
	}
	p := s.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.end != nil || p.polls[q.assignment.sub.id] != q {
		return
	}
	ctx, q.end = context.WithCancel(ctx)
	s.follow(ctx, &s.noActivity, func(ctx context.Context) error { return s.activity(ctx, client, q, ref) })
	s.follow(ctx, &s.noSpecs, func(ctx context.Context) error { return s.specs(ctx, client, q, ref) })
}

// client connects at the first use.
func (s *streams) client() (externalscaler.ExternalScalerClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, context.Canceled
	}
	if s.conn == nil {
		conn, err := dial(s.poller.inst.fed.config, s.poller.inst.instanceKey, true)
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	return externalscaler.NewExternalScalerClient(s.conn), nil
}

// stop waits for all streams; their context must be done.
func (s *streams) stop() {
	s.mu.Lock()
	s.stopped = true
	conn := s.conn
	s.mu.Unlock()
	s.running.Wait()
	if conn != nil {
		conn.Close()
	}
}

// follow keeps one stream open until ctx is done or the peer says that it does
// not offer it.
func (s *streams) follow(ctx context.Context, unoffered *atomic.Bool, stream func(context.Context) error) {
	if unoffered.Load() {
		return
	}
	guard.Go(&s.running, "a stream of activity", "", func() {
		retry := newBackoff(s.poller.inst.fed.clock, streamRetry, streamRetryMax)
		for ctx.Err() == nil && !unoffered.Load() {
			attempt, end := context.WithCancel(ctx)
			began := s.clock().Now()
			err := guard.Call("a stream of activity", "", func() error { return stream(attempt) })
			end()
			if status.Code(err) == codes.Unimplemented {
				unoffered.Store(true)
				return
			}
			retry.ended(began)
			retry.wait(ctx)
		}
	})
}

// activity takes true as a ring and false as nothing: going back is decided by
// polling alone.
func (s *streams) activity(ctx context.Context, client externalscaler.ExternalScalerClient, q *poll, ref *externalscaler.ScaledObjectRef) error {
	stream, err := client.StreamIsActive(ctx, ref)
	if err != nil {
		return err
	}
	return receiveAll(s.clock(), stream.Recv, func(message *externalscaler.IsActiveResponse) {
		s.announce(q)
		if message.GetResult() {
			s.poller.ring(q)
		}
	})
}

// announce records that the peer rings by itself.
func (s *streams) announce(q *poll) {
	q.assignment.apply(func(state *State) bool {
		changed := state.Detection != DetectionDoorbell
		state.Detection = DetectionDoorbell
		return changed
	})
}

// specs takes the newest list over; an empty one says nothing.
func (s *streams) specs(ctx context.Context, client externalscaler.ExternalScalerClient, q *poll, ref *externalscaler.ScaledObjectRef) error {
	stream, err := client.StreamMetricSpec(ctx, ref)
	if err != nil {
		return err
	}
	return receiveAll(s.clock(), stream.Recv, func(message *externalscaler.GetMetricSpecResponse) {
		if len(message.GetMetricSpecs()) == 0 {
			return
		}
		specs, err := s.poller.inst.fed.metricsOf("StreamMetricSpec", q.assignment.sub.snapshot(), message)
		if err == nil { // else the next poll tells it
			q.assignment.apply(func(state *State) bool {
				state.Specs, state.HaveSpecs = specs, true
				return true
			})
			if err = q.assignment.sub.silenced(); err != nil {
				specs = nil
			}
		}
		s.poller.mu.Lock()
		q.pushed = &announcement{specs, err}
		s.poller.mu.Unlock()
	})
}

func (s *streams) clock() clock.PassiveClock { return s.poller.inst.fed.clock }

// mostMessages is how many messages a second a stream may bring. One peer must
// not take the processor from the triggers of all others.
const mostMessages = 1000

// errFlood ends a stream that brings more.
var errFlood = fmt.Errorf("the peer sends more than %d messages a second", mostMessages)

// receiveAll hands every message on until the stream ends or becomes a flood. A
// clean end is no error.
func receiveAll[M any](c clock.PassiveClock, receive func() (M, error), take func(M)) error {
	since, count := c.Now(), 0
	for {
		message, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c.Since(since) >= time.Second {
			since, count = c.Now(), 0
		}
		if count++; count > mostMessages {
			return errFlood
		}
		take(message)
	}
}
