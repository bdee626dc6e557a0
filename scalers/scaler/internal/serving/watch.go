package serving

import (
	"context"
	"errors"
	"io"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

const (
	// beatEvery is how often a stream says which observations still hold.
	beatEvery = 5 * time.Second
	// beatBytes bounds the ids in one Beat, well under the limit of 1 MiB on a
	// frame.
	beatBytes = 512 << 10
)

// watchService serves what the older contract lacks.
type watchService struct {
	scalerv1.UnimplementedScalerServiceServer
	core *core
}

// Describe says what the family serves.
func (w *watchService) Describe(context.Context, *scalerv1.DescribeRequest) (*scalerv1.DescribeResponse, error) {
	return trigger.Describe(w.core.Family, w.core.Version, w.core.Triggers), nil
}

// Check says what is wrong with a trigger. It binds it and asks nobody.
func (w *watchService) Check(ctx context.Context, r *scalerv1.CheckRequest) (*scalerv1.CheckResponse, error) {
	if r.GetRef() == nil {
		return nil, status.Error(codes.InvalidArgument, "check: ref is required")
	}
	req := trigger.Request{Ref: r.GetRef()}
	t, err := w.core.trigger(ctx, req)
	if err != nil {
		return nil, err
	}
	answer := &scalerv1.CheckResponse{}
	_, err = t.Bind(req.Ref, nil)
	if wrong := (*trigger.RejectionError)(nil); errors.As(err, &wrong) {
		answer.Problems = wrong.Problems
	}
	return answer, nil
}

// Watch carries all subscriptions of one client.
//
// What the client is told is worked out when it is sent: a slow client is told
// less often, and only the latest, and nothing queues for it.
func (w *watchService) Watch(stream grpc.BidiStreamingServer[scalerv1.WatchRequest, scalerv1.WatchResponse]) error {
	v := newView(w.core)
	defer v.close()
	// Receiving ends with the stream, which ends when this method returns.
	ended := make(chan error, 1)
	go func() { ended <- v.receive(stream) }()
	return v.send(stream, ended)
}

// receive applies what the client asks for.
func (v *view) receive(stream grpc.BidiStreamingServer[scalerv1.WatchRequest, scalerv1.WatchResponse]) (err error) {
	defer defect.Recovered("watch", &err)
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := frame.GetRequest().(type) {
		case *scalerv1.WatchRequest_Subscribe:
			err = v.subscribe(stream.Context(), r.Subscribe)
		case *scalerv1.WatchRequest_Unsubscribe:
			v.unsubscribe(r.Unsubscribe.GetId())
		default:
			err = status.Error(codes.InvalidArgument, "a frame asks for nothing")
		}
		if err != nil {
			return err
		}
	}
}

// send tells the client what is new until the stream ends.
func (v *view) send(stream grpc.BidiStreamingServer[scalerv1.WatchRequest, scalerv1.WatchResponse], ended <-chan error) error {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	draining := v.core.draining
	for {
		var frames []*scalerv1.WatchResponse
		select {
		case err := <-ended:
			return err
		case <-v.wake:
			for frames = v.news(); len(frames) > 0; frames = v.news() {
				if err := sendAll(stream, frames); err != nil {
					return err
				}
			}
		case <-beat.C:
			frames = v.beats(time.Now())
		case <-draining:
			draining = nil // said once
			frames = []*scalerv1.WatchResponse{{Response: &scalerv1.WatchResponse_Draining{Draining: &scalerv1.Draining{}}}}
		}
		if err := sendAll(stream, frames); err != nil {
			return err
		}
	}
}

func sendAll(stream grpc.ServerStreamingServer[scalerv1.WatchResponse], frames []*scalerv1.WatchResponse) error {
	for _, frame := range frames {
		if err := stream.Send(frame); err != nil {
			return err
		}
	}
	return nil
}
