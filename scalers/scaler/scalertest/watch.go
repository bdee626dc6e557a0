package scalertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Watching is one subscription on a stream of its own.
type Watching struct {
	id     string
	stream grpc.BidiStreamingClient[scalerv1.WatchRequest, scalerv1.WatchResponse]
	frames chan *scalerv1.WatchResponse
	err    error // why frames is closed
}

// Watch subscribes to a trigger as the controller does, until the test ends.
// interval is the time between regular reads; a test of a doorbell or a timer
// makes it long, so that a regular read cannot be taken for either.
func (f *Family) Watch(t testing.TB, triggerType string, metadata map[string]string, mode scalerv1.Mode, interval time.Duration) *Watching {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := f.Scaler.Watch(ctx)
	if err != nil {
		cancel()
		t.Fatalf("watch: %v", err)
	}
	w := &Watching{id: "ScaledObject/default/app/0", stream: stream, frames: make(chan *scalerv1.WatchResponse, 64)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.receive(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	err = stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
		Id: w.id, Generation: 1, Ref: f.Ref(triggerType, metadata), Mode: mode, Interval: durationpb.New(interval),
	}}})
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	return w
}

func (w *Watching) receive(ctx context.Context) {
	defer close(w.frames)
	for {
		frame, err := w.stream.Recv()
		if err != nil {
			w.err = err
			return
		}
		select {
		case w.frames <- frame:
		case <-ctx.Done():
			w.err = ctx.Err()
			return
		}
	}
}

// Until returns the first observation from now on that satisfies a condition.
// A rejection is an error.
func (w *Watching) Until(ctx context.Context, what string, satisfied func(*scalerv1.Observation) bool) (*scalerv1.Observation, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	var last *scalerv1.Observation
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s was not observed; the last observation is %v", what, last)
		case frame, ok := <-w.frames:
			if !ok {
				return nil, fmt.Errorf("the stream ended: %w", w.err)
			}
			if r := frame.GetRejected(); r != nil {
				return nil, fmt.Errorf("rejected: %s", r.GetStatus().GetMessage())
			}
			if last = later(frame.GetObservation(), last); frame.GetObservation() != nil && satisfied(last) {
				return last, nil
			}
		}
	}
}

func later(now, before *scalerv1.Observation) *scalerv1.Observation {
	if now == nil {
		return before
	}
	return now
}

// Active is a condition for Until.
func Active(o *scalerv1.Observation) bool {
	for _, v := range o.GetValues() {
		if v.GetActive() {
			return true
		}
	}
	return false
}

// Inactive is a condition for Until: the source said that there is no work.
func Inactive(o *scalerv1.Observation) bool { return len(o.GetValues()) > 0 && !Active(o) }
