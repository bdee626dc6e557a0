package federation

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// boundless is a third party's scaler that answers with more than anybody
// needs.
type boundless struct {
	externalscaler.UnimplementedExternalScalerServer
}

func (boundless) GetMetricSpec(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{MetricName: strings.Repeat("x", 3<<20)}}}, nil
}

func (boundless) IsActive(ctx context.Context, _ *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	for range 4 {
		if err := grpc.SetTrailer(ctx, metadata.Pairs("filler", strings.Repeat("x", 64<<10))); err != nil {
			return nil, err
		}
	}
	return &externalscaler.IsActiveResponse{Result: true}, nil
}

func (boundless) GetMetrics(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	return nil, status.Error(codes.NotFound, strings.Repeat("x", 50<<10))
}

// TestAnswersWithoutMeasure has a third party's scaler send more than it may in
// each part of an answer.
func TestAnswersWithoutMeasure(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(server, boundless{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // its error is that of being stopped
	}()
	defer func() {
		server.Stop()
		<-done
	}()
	conn, err := dial(Config{}, instanceKey{target: "passthrough:///" + l.Addr().String(), plaintext: true}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := externalscaler.NewExternalScalerClient(conn)
	if _, err := client.GetMetricSpec(t.Context(), &externalscaler.ScaledObjectRef{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message of 3 MiB: %v", err)
	}
	if _, err := client.IsActive(t.Context(), &externalscaler.ScaledObjectRef{}); err == nil {
		t.Error("a trailer of 256 KiB is taken")
	}
	_, err = client.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{})
	told := new(Federation).peerError("jobs", err, true)
	if status.Code(told) != codes.NotFound || len(told.Error()) > 2000 {
		t.Errorf("an error of 50 KiB became one of %d bytes", len(told.Error()))
	}
}
