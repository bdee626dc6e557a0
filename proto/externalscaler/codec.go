package externalscaler

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // what the codec decodes with
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a message may be made of. An empty message within another takes 2 bytes of
// a connection and some hundred of memory, so that a bound on bytes alone bounds
// little.
const (
	// MostElements is what a message may have of fields, with those of the
	// messages in it and the elements of its lists: far more than the observations
	// of all triggers of an instance.
	MostElements = 50_000
	// FewElements is the same for what is about one trigger, as all answers are of
	// the contract that third parties serve.
	FewElements = 2_000
	// deepest is how many messages may be within one another.
	deepest = 32
)

// Codec decodes protobuf, as gRPC does by itself, but for messages that have more
// than so many elements: of those nothing is made. peer is what errors call whoever
// sent it.
func Codec(peer string, most int) encoding.CodecV2 {
	return &codec{CodecV2: encoding.GetCodecV2("proto"), peer: peer, most: most}
}

type codec struct {
	encoding.CodecV2
	peer string
	most int
}

// Name implements encoding.CodecV2: calls are announced as those of gRPC's own.
func (*codec) Name() string { return "" }

// Unmarshal implements encoding.CodecV2.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message of protobuf", v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	of := message.ProtoReflect().Descriptor()
	most := c.most
	if answers[of.FullName()] {
		most = min(most, FewElements)
	}
	if err := count(whole.ReadOnlyData(), of, most); err != nil {
		return fmt.Errorf("%s sent a message %s that %w", c.peer, of.FullName(), err)
	}
	return c.CodecV2.Unmarshal(mem.BufferSlice{whole}, v)
}

// answers are the messages that are about one trigger, whoever sends them.
var answers = map[protoreflect.FullName]bool{
	"externalscaler.IsActiveResponse":      true,
	"externalscaler.GetMetricSpecResponse": true,
	"externalscaler.GetMetricsResponse":    true,
}

// count returns an error for a message in wire format that has more elements than
// it may. It keeps nothing of it.
func count(wire []byte, of protoreflect.MessageDescriptor, most int) error {
	left := counter{most: most, left: most}
	return left.message(wire, of, deepest)
}

// counter is how many elements there may still be.
type counter struct{ most, left int }

func (c *counter) take(n int) error {
	if n > c.left {
		return fmt.Errorf("has more than the %d fields and elements that it may have", c.most)
	}
	c.left -= n
	return nil
}

// message counts the fields of a message. One that it does not know is kept as
// the bytes that it is, and counts once.
func (c *counter) message(wire []byte, of protoreflect.MessageDescriptor, depth int) error {
	if depth == 0 {
		return fmt.Errorf("is more than %d messages deep", deepest)
	}
	fields := of.Fields()
	for len(wire) > 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return protowire.ParseError(n)
		}
		wire = wire[n:]
		if err := c.take(1); err != nil {
			return err
		}
		n = protowire.ConsumeFieldValue(number, kind, wire)
		if n < 0 {
			return protowire.ParseError(n)
		}
		value := wire[:n]
		wire = wire[n:]
		field := fields.ByNumber(number)
		if field == nil {
			continue
		}
		if err := c.field(value, kind, field, depth); err != nil {
			return err
		}
	}
	return nil
}

// field counts what is within a field.
func (c *counter) field(value []byte, kind protowire.Type, of protoreflect.FieldDescriptor, depth int) error {
	switch within := of.Message(); {
	case kind == protowire.StartGroupType && within != nil:
		content, _ := protowire.ConsumeGroup(of.Number(), value)
		return c.message(content, within, depth-1)
	case kind != protowire.BytesType:
		return nil
	case within != nil:
		content, _ := protowire.ConsumeBytes(value)
		return c.message(content, within, depth-1)
	case of.IsList():
		content, _ := protowire.ConsumeBytes(value)
		return c.take(packed(content, of.Kind()))
	}
	return nil
}

// packed is how many numbers a packed list has.
func packed(content []byte, of protoreflect.Kind) (n int) {
	switch of {
	case protoreflect.StringKind, protoreflect.BytesKind:
		return 0 // one, which was counted
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return len(content) / 4
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return len(content) / 8
	default:
		for _, b := range content {
			if b < 0x80 { // the last byte of a varint
				n++
			}
		}
		return n
	}
}

// Values returns an error for a text in JSON that has more values than a message
// may have elements: decoded, an empty one takes as much as one in protobuf does.
func Values(text string) error {
	if CountValues(text) > MostElements {
		return fmt.Errorf("has more than the %d values that it may have", MostElements)
	}
	return nil
}

// CountValues is how many values a text in JSON has, about.
func CountValues(text string) int {
	n, quoted := 1, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}
