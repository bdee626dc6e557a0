package externalscaler_test

import (
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// The messages below are put together byte by byte from the field numbers and
// wire types that KEDA 2.x scalers use, so that a change of the .proto file
// cannot change the test along with it.

func text(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func message(b []byte, number protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), m)
}

func integer(b []byte, number protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(n))
}

func double(b []byte, number protowire.Number, f float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), math.Float64bits(f))
}

// ref is ScaledObjectRef{name: "orders", namespace: "shop", scalerMetadata: {"k": "v"}}.
func ref() []byte {
	entry := text(text(nil, 1, "k"), 2, "v")
	return message(text(text(nil, 1, "orders"), 2, "shop"), 3, entry)
}

func TestMessagesOnTheWire(t *testing.T) {
	goRef := &externalscaler.ScaledObjectRef{
		Name: "orders", Namespace: "shop", ScalerMetadata: map[string]string{"k": "v"},
	}
	tests := map[string]struct {
		wire []byte
		want proto.Message
	}{
		"ScaledObjectRef":  {ref(), goRef},
		"IsActiveResponse": {integer(nil, 1, 1), &externalscaler.IsActiveResponse{Result: true}},
		"GetMetricSpecResponse": {
			message(nil, 1, double(integer(text(nil, 1, "m"), 2, 5), 3, 2.5)),
			&externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{
				{MetricName: "m", TargetSize: 5, TargetSizeFloat: 2.5},
			}},
		},
		"GetMetricsRequest": {
			text(message(nil, 1, ref()), 2, "m"),
			&externalscaler.GetMetricsRequest{ScaledObjectRef: goRef, MetricName: "m"},
		},
		"GetMetricsResponse": {
			message(nil, 1, double(integer(text(nil, 1, "m"), 2, -7), 3, 0.25)),
			&externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{
				{MetricName: "m", MetricValue: -7, MetricValueFloat: 0.25},
			}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.want.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(tt.wire, got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, tt.want) || len(got.ProtoReflect().GetUnknown()) > 0 {
				t.Errorf("decoded %v, want %v", got, tt.want)
			}
			sent, err := proto.MarshalOptions{Deterministic: true}.Marshal(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if string(sent) != string(tt.wire) {
				t.Errorf("encoded % x, want % x", sent, tt.wire)
			}
		})
	}
}

func TestServiceOnTheWire(t *testing.T) {
	service := externalscaler.File_externalscaler_externalscaler_proto.Services().ByName("ExternalScaler")
	if service == nil || service.FullName() != "externalscaler.ExternalScaler" {
		t.Fatalf("service = %v, want externalscaler.ExternalScaler", service)
	}
	tests := map[protoreflect.Name]struct {
		input, output  protoreflect.FullName
		serverStreamed bool
	}{
		"IsActive":         {"externalscaler.ScaledObjectRef", "externalscaler.IsActiveResponse", false},
		"StreamIsActive":   {"externalscaler.ScaledObjectRef", "externalscaler.IsActiveResponse", true},
		"GetMetricSpec":    {"externalscaler.ScaledObjectRef", "externalscaler.GetMetricSpecResponse", false},
		"GetMetrics":       {"externalscaler.GetMetricsRequest", "externalscaler.GetMetricsResponse", false},
		"StreamMetricSpec": {"externalscaler.ScaledObjectRef", "externalscaler.GetMetricSpecResponse", true},
	}
	if got := service.Methods().Len(); got != len(tests) {
		t.Errorf("%d methods, want %d", got, len(tests))
	}
	for name, tt := range tests {
		t.Run(string(name), func(t *testing.T) {
			m := service.Methods().ByName(name)
			if m == nil {
				t.Fatal("missing")
			}
			if m.Input().FullName() != tt.input || m.Output().FullName() != tt.output {
				t.Errorf("takes %s and returns %s, want %s and %s", m.Input().FullName(), m.Output().FullName(), tt.input, tt.output)
			}
			if m.IsStreamingClient() || m.IsStreamingServer() != tt.serverStreamed {
				t.Errorf("client stream %t, server stream %t", m.IsStreamingClient(), m.IsStreamingServer())
			}
		})
	}
}
