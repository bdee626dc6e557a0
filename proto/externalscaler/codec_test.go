package externalscaler

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	wire, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("%T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*wire)}, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

// sender is a server that answers every call and message with the same bytes.
func sender(t *testing.T, wire []byte) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		return s.SendMsg(&wire)
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // its error is that of being stopped
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return l.Addr().String()
}

func connect(t *testing.T, address string, largest Largest) ExternalScalerClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, Bounded(address, largest, insecure.NewCredentials())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return NewExternalScalerClient(conn)
}

// An empty message is 2 bytes of an answer, and some hundred in memory. A server
// sends as many as the bytes allow; nothing is made of them.
func TestEmptyMessagesWithoutNumber(t *testing.T) {
	const size = 256 << 10
	answers := map[string][]byte{
		"metrics":         bytes.Repeat([]byte{0x0a, 0}, size/2),
		"a little in all": bytes.Repeat([]byte{0x0a, 2, 0x0a, 0}, size/4), // names that are empty
		"unknown fields":  bytes.Repeat([]byte{0x78, 0}, size/2),
		"groups":          bytes.Repeat([]byte{0x7b, 0x7c}, size/2),
	}
	for name, wire := range answers {
		t.Run(name, func(t *testing.T) {
			address := sender(t, wire)
			client := connect(t, address, Largest{Bytes: size + 1024, Elements: MostElements})
			ask := func() error {
				_, err := client.GetMetricSpec(t.Context(), &ScaledObjectRef{})
				return err
			}
			stream := func() error {
				s, err := client.StreamMetricSpec(t.Context(), &ScaledObjectRef{})
				if err != nil {
					return err
				}
				_, err = s.Recv()
				return err
			}
			for how, call := range map[string]func() error{"an answer": ask, "a stream": stream} {
				_ = call() // connected
				objects := allocations(func() {
					err := call()
					if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), address+" sent a message externalscaler.") ||
						!strings.Contains(err.Error(), "more than the 2000 fields") {
						t.Errorf("%s: %v", how, err)
					}
				})
				if objects > 10_000 {
					t.Errorf("%s of %d empty messages is %d allocations", how, size/2, objects)
				}
			}
		})
	}
}

// allocations are those of the whole process meanwhile.
func allocations(of func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	of()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// What a usual answer has passes, to the last metric that a trigger may have.
func TestUsualAnswersPass(t *testing.T) {
	answer := &GetMetricSpecResponse{}
	for i := range maxMetrics {
		answer.MetricSpecs = append(answer.MetricSpecs, &MetricSpec{MetricName: fmt.Sprint("s0-", i), TargetSize: 5, TargetSizeFloat: 5})
	}
	wire, err := proto.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := connect(t, sender(t, wire), Largest{Bytes: 256 << 10, Elements: FewElements}).GetMetricSpec(context.Background(), &ScaledObjectRef{})
	if err != nil || !proto.Equal(got, answer) {
		t.Errorf("%d metrics, %v", len(got.GetMetricSpecs()), err)
	}
}

// Elements are counted wherever the wire has them.
func TestElementsAreCounted(t *testing.T) {
	field := func(number protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
	}
	nested := func(deep int) (wire []byte) { // a list in a list in a list
		for range deep {
			wire = field(6, field(1, wire)) // Value.list_value, ListValue.values
		}
		return wire
	}
	point := &descriptorpb.SourceCodeInfo{}
	group := bytes.Repeat([]byte{0x0a, 0}, 3)
	for name, tt := range map[string]struct {
		wire []byte
		into proto.Message
		want int // elements, 0 for an error at any bound
	}{
		"nothing":             {nil, &MetricSpec{}, 0},
		"fields":              {[]byte{0x0a, 1, 'x', 0x10, 5}, &MetricSpec{}, 2},
		"messages":            {field(1, []byte{0x0a, 1, 'x', 0x10, 5}), &GetMetricSpecResponse{}, 3},
		"entries of a map":    {field(3, append(field(1, []byte("queue")), field(2, []byte("q"))...)), &ScaledObjectRef{}, 3},
		"a packed list":       {field(1, field(1, []byte{1, 2, 0x80, 1, 4})), point, 1 + 1 + 4},
		"a list as it was":    {field(1, []byte{8, 1, 8, 2}), point, 3},
		"an unknown field":    {field(99, group), &MetricSpec{}, 1},
		"texts":               {field(1, append(field(6, nil), field(6, nil)...)), point, 3},
		"messages in a depth": {nested(deepest/2 - 1), &structpb.Value{}, deepest - 2},
	} {
		of := tt.into.ProtoReflect().Descriptor()
		if err := count(tt.wire, of, tt.want); err != nil {
			t.Errorf("%s: %v at a bound of %d", name, err, tt.want)
		}
		if tt.want > 0 && count(tt.wire, of, tt.want-1) == nil {
			t.Errorf("%s: nothing is said at a bound of %d", name, tt.want-1)
		}
	}
	value := (&structpb.Value{}).ProtoReflect().Descriptor()
	if err := count(nested(deepest), value, MostElements); err == nil || !strings.Contains(err.Error(), "messages deep") {
		t.Errorf("messages %d deep: %v", 2*deepest, err)
	}
	for _, broken := range [][]byte{{0x0a}, {0x0a, 5, 0}, {0xff}, {0x0b}, bytes.Repeat([]byte{0x0b}, 20_000)} {
		if count(broken, value, MostElements) == nil {
			t.Errorf("% .20x is taken for a message", broken)
		}
	}
}

// FuzzElements compares what is counted with what is decoded: what passes a bound
// never has more messages than that.
func FuzzElements(f *testing.F) {
	f.Add([]byte{0x0a, 2, 0x0a, 0, 0x0a, 0})
	f.Add(bytes.Repeat([]byte{0x0a, 0}, 100))
	f.Fuzz(func(t *testing.T, wire []byte) {
		const most = 20
		answer := &GetMetricSpecResponse{}
		refused := count(wire, answer.ProtoReflect().Descriptor(), most)
		if err := proto.Unmarshal(wire, answer); err == nil && refused == nil && len(answer.GetMetricSpecs()) > most {
			t.Errorf("%d messages pass a bound of %d", len(answer.GetMetricSpecs()), most)
		}
	})
}

// Texts in JSON within messages are no way around.
func TestValuesOfATextAreBounded(t *testing.T) {
	if err := Values(`{"a":{"value":"` + strings.Repeat(`[{,\"`, MostElements) + `"}}`); err != nil {
		t.Errorf("a long text: %v", err)
	}
	if err := Values("[" + strings.Repeat("{},", MostElements) + "{}]"); err == nil {
		t.Error("objects without number are taken")
	}
}
