package main

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// never is what IsActive says in these tests: only pushes activate.
func never(context.Context) (bool, error) { return false, nil }

// said is a stream that brings what is put into the channel.
func said(messages <-chan bool) func(grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	return func(stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
		for {
			select {
			case m := <-messages:
				if err := stream.Send(&externalscaler.IsActiveResponse{Result: m}); err != nil {
					return err
				}
			case <-stream.Context().Done():
				return nil
			}
		}
	}
}

func idle(t *testing.T, family *scalertest.Family, s *userServer) *scalertest.Watching {
	t.Helper()
	return family.Watch(t, "external-push", map[string]string{"scalerAddress": s.address}, scalerv1.Mode_MODE_IDLE, time.Hour)
}

func expect(t *testing.T, w *scalertest.Watching, what string, satisfied func(*scalerv1.Observation) bool) *scalerv1.Observation {
	t.Helper()
	o, err := w.Until(t.Context(), what, satisfied)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestPushedTrueActivates although IsActive says no, before the next poll; and
// once: the reading after it is the server's poll again.
func TestPushedTrueActivates(t *testing.T) {
	messages := make(chan bool)
	s := startServer(t, &userServer{active: never, streamActive: said(messages)})
	family := scalertest.Serve(t, triggers...)
	w := idle(t, family, s)
	expect(t, w, "inactive at first", scalertest.Inactive)
	messages <- false // the stream counts as open now, which is read once more
	s.until(t, "IsActive", 2)
	messages <- true
	o := expect(t, w, "activation", func(o *scalerv1.Observation) bool { return o.GetActivations() == 1 })
	if o.GetDetection() != scalerv1.Detection_DETECTION_DOORBELL || o.GetValues()[0].GetValue() != 7 {
		t.Errorf("observation = %v, want the value 7 by doorbell", o)
	}
	if _, active, err := family.ObserveAll(t.Context(), "external-push", map[string]string{"scalerAddress": s.address}); err != nil || active {
		t.Errorf("active = %v, %v after the next poll, want false", active, err)
	}
	expect(t, w, "inactive again, through polling", scalertest.Inactive)
}

// TestPushedTrueIsHeardAtWork: a target that runs is kept from going to rest.
func TestPushedTrueIsHeardAtWork(t *testing.T) {
	messages := make(chan bool)
	s := startServer(t, &userServer{active: never, streamActive: said(messages)})
	w := scalertest.Serve(t, triggers...).Watch(t, "external-push", map[string]string{"scalerAddress": s.address}, scalerv1.Mode_MODE_ACTIVE, time.Hour)
	expect(t, w, "inactive at first", scalertest.Inactive)
	messages <- true
	expect(t, w, "activation", func(o *scalerv1.Observation) bool { return o.GetActivations() == 1 })
}

// TestPushedFalseIsIgnored: it causes no read, and takes back no true.
func TestPushedFalseIsIgnored(t *testing.T) {
	messages := make(chan bool)
	s := startServer(t, &userServer{active: never, streamActive: said(messages)})
	w := idle(t, scalertest.Serve(t, triggers...), s)
	expect(t, w, "inactive at first", scalertest.Inactive)
	messages <- false // the stream counts as open now, which is read once more
	s.until(t, "IsActive", 2)
	for range 10 {
		messages <- false
	}
	messages <- true
	messages <- false
	expect(t, w, "activation", func(o *scalerv1.Observation) bool { return o.GetActivations() == 1 })
	if got := s.count("IsActive"); got > 3 {
		t.Errorf("%d reads, want one for the true alone", got-2)
	}
}

// TestPushSurvivesAFailedRead: the reading that says so may come later.
func TestPushSurvivesAFailedRead(t *testing.T) {
	var broken atomic.Bool
	s := startServer(t, &userServer{active: func(context.Context) (bool, error) {
		if broken.Load() {
			return false, errors.New("boom")
		}
		return false, nil
	}})
	source := openPushOf(t, s, scalerv1.KindScaledObject)
	if _, err := source.Specs(t.Context()); err != nil {
		t.Fatal(err)
	}
	source.pushed.Store(true)
	broken.Store(true)
	if _, err := source.Read(t.Context()); err == nil {
		t.Fatal("a broken server is read")
	}
	broken.Store(false)
	for _, want := range []float64{1, 0} {
		readings, err := source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if readings[0].Activity != want {
			t.Errorf("activity = %v, want %v", readings[0].Activity, want)
		}
	}
}

// openPushOf opens the source of a trigger of kind on s.
func openPushOf(t *testing.T, s *userServer, kind string) *pushSource {
	t.Helper()
	source, err := scalertest.Open(t, openPush, externalParams{ScalerAddress: s.address, Object: scaler.Object{Kind: kind}})
	if err != nil {
		t.Fatal(err)
	}
	return source.(*pushSource)
}

// TestScaledJobIsOnlyRung: its server's word on activity is that of the poll.
func TestScaledJobIsOnlyRung(t *testing.T) {
	messages := make(chan bool, 1)
	s := startServer(t, &userServer{streamActive: said(messages), streamSpecs: silent[externalscaler.GetMetricSpecResponse]})
	source := openPushOf(t, s, scalerv1.KindScaledJob)
	messages <- true
	rung := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	err := source.Listen(ctx, func() {}, func() {
		close(rung)
		cancel()
	})
	<-rung
	if !errors.Is(err, context.Canceled) || source.pushed.Load() {
		t.Errorf("error = %v, pushed = %v", err, source.pushed.Load())
	}
	if err := source.WatchSpecs(t.Context(), nil); err != nil || s.count("StreamMetricSpec") != 0 {
		t.Errorf("specs are streamed for a ScaledJob: %v", err)
	}
}

// TestServerThatDoesNotStream is polled, and the user is told.
func TestServerThatDoesNotStream(t *testing.T) {
	s := startServer(t, &userServer{})
	w := idle(t, scalertest.Serve(t, triggers...), s)
	o := expect(t, w, "the note", func(o *scalerv1.Observation) bool { return o.GetDetectionNote() != "" })
	if want := "polled: server " + s.address + " does not stream"; o.GetDetectionNote() != want {
		t.Errorf("note = %q, want %q", o.GetDetectionNote(), want)
	}
	if !scalertest.Active(o) {
		t.Errorf("observation = %v, want the poll's", o)
	}
	s.until(t, "StreamMetricSpec", 1)
}

// TestFloodIsCoalesced: rings are as many as the sampler allows, and a server
// that does not stop is not listened to for a while.
func TestFloodIsCoalesced(t *testing.T) {
	ended := make(chan struct{}, 1)
	s := startServer(t, &userServer{streamActive: func(stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
		defer func() { ended <- struct{}{} }()
		for {
			if err := stream.Send(&externalscaler.IsActiveResponse{Result: true}); err != nil {
				return err
			}
		}
	}})
	source := openPushOf(t, s, scalerv1.KindScaledObject)
	rings := 0
	err := source.Listen(t.Context(), func() {}, func() { rings++ })
	if !errors.Is(err, errFlood) || rings < mostMessages {
		t.Errorf("error = %v after %d rings, want a flood after %d", err, rings, mostMessages)
	}
	<-ended
	if want := "server " + s.address + ": StreamIsActive: the server sends more than 1000 messages a second"; err.Error() != want {
		t.Errorf("error = %q, want %q", err, want)
	}
}

// TestStreamedSpecs replace those that were asked for and stand from then on;
// empty lists mean nothing, wrong ones are said.
func TestStreamedSpecs(t *testing.T) {
	messages := make(chan *externalscaler.GetMetricSpecResponse)
	s := startServer(t, &userServer{
		active: never,
		streamSpecs: func(stream grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error {
			for {
				select {
				case m := <-messages:
					if m == nil {
						return status.Error(codes.Unavailable, "see you")
					}
					if err := stream.Send(m); err != nil {
						return err
					}
				case <-stream.Context().Done():
					return nil
				}
			}
		},
		streamActive: silent[externalscaler.IsActiveResponse],
	})
	family := scalertest.Serve(t, triggers...)
	w := idle(t, family, s)
	named := func(name string) func(*scalerv1.Observation) bool {
		return func(o *scalerv1.Observation) bool {
			return len(o.GetValues()) == 1 && o.GetValues()[0].GetMetricName() == name
		}
	}
	expect(t, w, "what was asked for", named("jobs"))
	messages <- specs()
	messages <- specs(spec("tasks", 2))
	expect(t, w, "what was sent", named("tasks"))
	messages <- specs(spec("bad", -1))
	o := expect(t, w, "what is wrong", func(o *scalerv1.Observation) bool { return o.GetStatus() != nil })
	if want := "StreamMetricSpec: metric bad: target 0 is not greater than 0"; !strings.HasSuffix(o.GetStatus().GetMessage(), want) {
		t.Errorf("status = %v, want %q", o.GetStatus(), want)
	}
	messages <- specs(spec("tasks", 3))
	expect(t, w, "good again", named("tasks"))
	messages <- nil
	got := targetsOf(t, family, "external-push", map[string]string{"scalerAddress": s.address})
	if want := map[string]float64{"tasks": 3}; !maps.Equal(got, want) {
		t.Errorf("after the stream's end the specs are %v, want %v", got, want)
	}
}

// TestStreamsLeaveRoomForPolls: a server that takes few streams at once is
// polled all the same.
func TestStreamsLeaveRoomForPolls(t *testing.T) {
	s := startServer(t, &userServer{
		streamActive: silent[externalscaler.IsActiveResponse],
		streamSpecs:  silent[externalscaler.GetMetricSpecResponse],
	}, grpc.MaxConcurrentStreams(4))
	octx, release := scaler.Opening(t.Context())
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	for range 20 {
		source, err := openPush(octx, externalParams{ScalerAddress: s.address, Object: scaler.Object{Kind: scalerv1.KindScaledObject}})
		if err != nil {
			t.Fatal(err)
		}
		push := source.(*pushSource)
		listening.Go(func() { _ = push.Listen(ctx, func() {}, func() {}) })
		listening.Go(func() { _ = push.WatchSpecs(ctx, func() {}) })
		if _, err := push.Specs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := push.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStreamsOfOthersLeaveRoom: a namespace that names another's server has as many
// streams there as the server takes over a connection, and the other one its own.
func TestStreamsOfOthersLeaveRoom(t *testing.T) {
	const most = 4
	s := startServer(t, &userServer{
		streamActive: silent[externalscaler.IsActiveResponse],
		streamSpecs:  silent[externalscaler.GetMetricSpecResponse],
	}, grpc.MaxConcurrentStreams(most))
	octx, release := scaler.Opening(t.Context())
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	push := func(namespace string) *pushSource {
		t.Helper()
		source, err := openPush(octx, externalParams{ScalerAddress: s.address, Object: scaler.Object{Kind: scalerv1.KindScaledObject, Namespace: namespace}})
		if err != nil {
			t.Fatal(err)
		}
		return source.(*pushSource)
	}
	for range 3 * most {
		crowd := push("crowd")
		listening.Go(func() { _ = crowd.Listen(ctx, func() {}, func() {}) })
	}
	s.until(t, "StreamIsActive", most)
	opened := make(chan struct{})
	ended := make(chan error, 1)
	few := push("few")
	listening.Go(func() { ended <- few.Listen(ctx, func() { close(opened) }, func() {}) })
	select {
	case <-opened:
	case err := <-ended:
		t.Errorf("the stream of another namespace ended: %v", err)
	}
	if got := s.count("StreamIsActive"); got != most+1 {
		t.Errorf("%d streams are open, want %d of the crowd and one", got, most)
	}
}

// TestAStreamThatDoesNotOpenSaysSo waits for a server that has no room.
func TestAStreamThatDoesNotOpenSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		full := func(ctx context.Context) (grpc.ServerStreamingClient[externalscaler.IsActiveResponse], error) {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		never := func(*externalscaler.IsActiveResponse) { t.Error("it brings something") }
		err := receive(t.Context(), &limiter{}, full, func() { t.Error("it counts as open") }, never)
		if !errors.Is(err, errNotOpened) || time.Since(start) != opensWithin {
			t.Errorf("error = %v after %v", err, time.Since(start))
		}
		const text = "server a:1: StreamIsActive: the stream did not open within 15s: the server may have as many open as it takes"
		if got := (&connection{address: "a:1"}).streamEnded("StreamIsActive", err); got.Error() != text {
			t.Errorf("error = %v, want %s", got, text)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := receive(ctx, &limiter{}, full, func() {}, never); status.Code(err) != codes.Canceled {
			t.Errorf("error = %v of a trigger that went", err)
		}
	})
}

// TestMessagesOfANamespaceAreBounded has the streams of one bring more together than
// it may have, none of them too much by itself.
func TestMessagesOfANamespaceAreBounded(t *testing.T) {
	l, now := &limiter{}, time.Now()
	flood := func(n int) (at int, err error) {
		var own second
		for at = 0; at < n; at++ {
			if err = l.exceeded(&own, now); err != nil {
				break
			}
		}
		return at, err
	}
	var quiet second
	brought, ended := 0, 0
	for range 100 {
		at, err := flood(mostMessages)
		brought += at
		if err != nil {
			ended++
			if !errors.Is(err, errCrowd) || !errors.Is(err, errFlood) {
				t.Errorf("error = %v after %d messages", err, at)
			}
		}
	}
	if brought > mostOfNamespace+100*fewMessages || ended < 90 {
		t.Errorf("%d messages within a second, and %d streams ended", brought, ended)
	}
	for range fewMessages {
		if err := l.exceeded(&quiet, now); err != nil {
			t.Errorf("a stream that brings little: %v", err)
		}
	}
	if _, err := flood(mostMessages + 1); !errors.Is(err, errFlood) {
		t.Errorf("error = %v", err)
	}
	now = now.Add(time.Second)
	if _, err := flood(30); err != nil {
		t.Errorf("a second later: %v", err)
	}

	octx, release := scaler.Opening(t.Context())
	defer release()
	rate := func(namespace, address string) *limiter {
		source, err := openPush(octx, externalParams{ScalerAddress: address, Object: scaler.Object{Namespace: namespace}})
		if err != nil {
			t.Fatal(err)
		}
		return source.(*pushSource).rate
	}
	if rate("a", "one:1") != rate("a", "another:1") || rate("a", "one:1") == rate("b", "one:1") {
		t.Error("messages are not counted by namespace")
	}
}

// TestStreamsCountAsConnections: triggers beyond what streams may take are polled,
// and go on streaming when there is room again.
func TestStreamsCountAsConnections(t *testing.T) {
	before := debug.SetMemoryLimit(4 * (128<<10 + streamsCost)) // a quarter is one namespace's
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	s := startServer(t, &userServer{active: never, streamActive: said(nil)})
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	push := func() scaler.Source {
		source, err := openPush(ctx, externalParams{ScalerAddress: s.address, Object: scaler.Object{Kind: scalerv1.KindScaledObject}})
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	first, second := push().(*pushSource), push().(*pushSource)
	listening, stop := context.WithCancel(t.Context())
	opened, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- first.Listen(listening, func() { close(opened) }, func() {}) }()
	<-opened
	if err := second.Listen(t.Context(), func() {}, func() {}); !errors.Is(err, scaler.ErrDoorbellRefused) || !strings.Contains(err.Error(), "--connection-memory") {
		t.Errorf("a stream without room: %v", err)
	}
	if err := second.WatchSpecs(t.Context(), func() {}); err != nil {
		t.Errorf("metrics that are not streamed: %v, want that they are asked for", err)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A trigger whose stream has ended, or whose server does not stream, takes none.
	if err := first.WatchSpecs(t.Context(), func() {}); err != nil {
		t.Error(err)
	}
	listening, stop = context.WithCancel(t.Context())
	defer stop()
	if err := second.Listen(listening, stop, func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("there is room again: %v", err)
	}
}
