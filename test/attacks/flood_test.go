package attacks

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// rogue is a tenant's external scaler that answers in a way of its own.
type rogue struct {
	externalscaler.UnimplementedExternalScalerServer
	way string
}

func (r rogue) IsActive(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	return &externalscaler.IsActiveResponse{}, r.err()
}

// err is a status as long as it may be.
func (r rogue) err() error {
	if r.way == "words" {
		return status.Error(codes.Internal, strings.Repeat("x", 1<<20))
	}
	return nil
}

// StreamIsActive says one thing and the other as fast as it can.
func (r rogue) StreamIsActive(_ *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	for n := 0; ; n++ {
		if err := stream.Send(&externalscaler.IsActiveResponse{Result: r.way == "flaps" && n%2 == 0}); err != nil {
			return err
		}
	}
}

// StreamMetricSpec changes what it measures as fast as it can.
func (r rogue) StreamMetricSpec(_ *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error {
	for n := 0; ; n++ {
		specs := []*externalscaler.MetricSpec{{MetricName: fmt.Sprint("m", n), TargetSizeFloat: float64(n + 1)}}
		if err := stream.Send(&externalscaler.GetMetricSpecResponse{MetricSpecs: specs}); err != nil {
			return err
		}
	}
}

func (r rogue) GetMetricSpec(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	answer := &externalscaler.GetMetricSpecResponse{}
	add := func(name string) {
		answer.MetricSpecs = append(answer.MetricSpecs, &externalscaler.MetricSpec{MetricName: name, TargetSizeFloat: 1})
	}
	switch r.way {
	case "many metrics":
		for n := range 100_000 {
			add(fmt.Sprint("metric-", n))
		}
	case "long name":
		add(strings.Repeat("m", 3<<20))
	case "large":
		add(strings.Repeat("m", 64<<20))
	default:
		add("metric")
	}
	return answer, r.err()
}

func (r rogue) GetMetrics(_ context.Context, request *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	answer := &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{MetricName: request.GetMetricName()}}}
	if r.way == "many values" {
		for n := range 100_000 {
			answer.MetricValues = append(answer.MetricValues, &externalscaler.MetricValue{MetricName: fmt.Sprint("metric-", n), MetricValueFloat: 1})
		}
	}
	return answer, r.err()
}

// TestFloods has external scalers of a tenant say more, larger and faster than
// anybody needs to hear.
func TestFloods(t *testing.T) {
	t.Parallel()
	others := standBy(t, "external", "http")
	enemy := tenant(t)
	var all []scaled
	add := func(name, address string) {
		for _, kind := range []string{"external", "external-push"} {
			all = append(all, enemy.scale(strings.ReplaceAll(name, " ", "-")+"-"+kind, nil, triggerOf(kind, map[string]string{"scalerAddress": address})))
		}
	}
	for _, way := range []string{"words", "flaps", "beats", "many metrics", "long name", "large", "many values"} {
		l := listen(t)
		g := grpc.NewServer(grpc.MaxSendMsgSize(1 << 30))
		externalscaler.RegisterExternalScalerServer(g, rogue{way: way})
		l.wg.Go(func() { _ = g.Serve(l) }) // until it is closed
		t.Cleanup(g.Stop)
		add(way, l.address())
	}
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, answer := range map[string]func(net.Conn){
		"frame":       flood(settings+"\xff\xff\xff\x00\x00\x00\x00\x00\x01", "x", gib),
		"settings":    flood("", settings, gib),
		"pings":       flood(settings, "\x00\x00\x08\x06\x00\x00\x00\x00\x00xxxxxxxx", gib),
		"headers":     flood(settings+"\x00\x40\x00\x01\x00\x00\x00\x00\x01", "\x00\x40\x00\x09\x00\x00\x00\x00\x01"+strings.Repeat("\x40\x01a\x01b", 3276)+"\x40\x01a\x00", gib),
		"resets":      flood(settings, "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08", gib),
		"no protocol": flood("", "HTTP/1.1 400 Bad Request\r\n", gib),
	} {
		l := listenAnd(t, answer)
		add(name, l.address())
		defer l.waitAsked(t)
	}
	others.goOn()
	for _, s := range all {
		if !strings.HasPrefix(s.name, "flaps") && !strings.HasPrefix(s.name, "beats") {
			s.waitStatus()
		}
	}
	others.goOn()
	unharmed(t)
}

// waitStatus waits until the object says anything.
func (s scaled) waitStatus() {
	s.t.Helper()
	wait(s.t, s.name+": a condition", func() (bool, string) {
		status, message := s.condition("ScaledObject", s.name, "Ready")
		return status != "", message
	})
}
