package main

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// framed is a frame of AMQP on a channel.
func framed(channel uint16, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	head := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint16(append(head, 2, 0), channel), body...)
}

// transferred is what stands before a part of a message.
func transferred(handle byte, more bool) []byte {
	last := byte(0x42)
	if more {
		last = 0x41
	}
	fields := []byte{6, 0x52, handle, 0x43, 0xa0, 1, 7, 0x43, 0x41, last}
	return append([]byte{0, 0x53, transfer, 0xc0, byte(len(fields))}, fields...)
}

// compound is a list, map or array that announces so many elements.
func compound(code byte, count uint32, of ...byte) []byte {
	text := binary.BigEndian.AppendUint32([]byte{code}, uint32(4+len(of)))
	return append(binary.BigEndian.AppendUint32(text, count), of...)
}

// nestedLists are lists in each other, each of which announces all that is left.
func nestedLists(depth int) []byte {
	text := bytes.Repeat([]byte{0x40}, 40)
	for range depth {
		text = compound(0xd0, uint32(len(text)), text...)
	}
	return text
}

func value(of []byte) []byte { return append([]byte{0, 0x53, 0x77}, of...) }

// bounded is what an allowance says of what a server sends, in pieces of every length.
func bounded(t *testing.T, frames ...[]byte) error {
	t.Helper()
	text := append([]byte("AMQP\x00\x01\x00\x00"), bytes.Join(frames, nil)...)
	var first error
	for i, pieces := range []int{len(text), 1, 7} {
		a := &allowance{most: mostReply}
		a.grant()
		var err error
		for at := 0; at < len(text) && err == nil; at += pieces {
			err = a.Check(text[at:min(at+pieces, len(text))])
		}
		if i == 0 {
			first = err
		} else if (err == nil) != (first == nil) {
			t.Errorf("in pieces of %d bytes: %v, at once: %v", pieces, err, first)
		}
	}
	return first
}

// TestValuesOfAMQPAreBounded: what a server announces makes the library take memory,
// and time for it, before it comes; each byte that comes stands for one element.
func TestValuesOfAMQPAreBounded(t *testing.T) {
	whole := func(message []byte) [][]byte { return [][]byte{framed(1, transferred(3, false), message)} }
	parts := func(message []byte) (frames [][]byte) { // by turns with those of another link
		other := value(compound(0xd0, 4, 0x40, 0x40, 0x40, 0x40))
		for i := range message {
			more := i < len(message)-1
			frames = append(frames, framed(1, transferred(3, more), message[i:i+1]))
			if i < len(other) {
				frames = append(frames, framed(1, transferred(4, i < len(other)-1), other[i:i+1]))
			}
		}
		return frames
	}
	fields := func(performative []byte) [][]byte { return [][]byte{framed(0, performative)} }
	for name, frames := range map[string][][]byte{
		"lists in lists":                  whole(value(nestedLists(3))),
		"in a frame each":                 parts(value(nestedLists(3))),
		"many, with few elements each":    whole(value(bytes.Repeat([]byte{0xd0, 0, 0, 0, 4, 0, 0, 0x10, 0}, 100))),
		"maps in maps":                    whole(value(compound(0xd1, 20, compound(0xd1, 12, make([]byte, 12)...)...))),
		"descriptors of descriptors":      whole(value(make([]byte, 100))),
		"lists of one list":               whole(value(bytes.Repeat([]byte{0xc0, 100, 1}, 30))),
		"an array of what takes no bytes": whole(value(compound(0xf0, 60_000, 0x44))),
		"an array of fewer numbers":       whole(value(compound(0xf0, 60_000, 0x80, 1, 2, 3, 4, 5, 6, 7, 8))),
		"an array of fewer texts":         whole(value(compound(0xf0, 3, 0xa1, 1, 'a', 1, 'b'))),
		"an array of lists":               whole(value(compound(0xf0, 2, 0x45))),
		"a list that ends before":         whole(value(compound(0xd0, 1, 0x40, 0x40))),
		"a text beyond its list":          whole(value(compound(0xd0, 1, 0xa1, 9, 'a'))),
		"no constructor":                  whole(value([]byte{0x10})),
		"half a message":                  whole([]byte{0, 0x53, 0x77, 0xa1, 4, 'a'}),
		"properties of a server":          fields(append([]byte{0, 0x53, 0x10}, compound(0xd0, 1, compound(0xd1, 60, nestedLists(2)...)...)...)),
		"a frame of nothing that is half": fields([]byte{0, 0x53}),
		"more than a frame says":          fields([]byte{0, 0x53, 0x11, 0x45, 0xd0, 0, 0}),
		"a body elsewhere":                {{0, 0, 0, 12, 3, 0, 0, 0, 0, 0x53, 0x11, 0x45}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := bounded(t, frames...); err == nil {
				t.Error("it is taken")
			}
		})
	}

	id, text := "one", "two"
	message, err := (&amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: uint64(7), CorrelationID: "x", ReplyTo: &id, Subject: &text},
		ApplicationProperties: map[string]any{
			"status-code": int32(200), "at": time.Now(), "none": nil, "yes": true, "half": 0.5, "id": amqp.UUID{1},
		},
		Annotations: amqp.Annotations{"x-opt-offset": "12", int64(5): []byte{1}},
		Value: map[string]any{
			"partition_ids": []string{"0", "1", ""}, "numbers": []int64{1, 2, 1 << 40}, "few": []uint32{}, "list": []any{},
			"deep": []any{map[string]any{"a": []any{int8(1), []any{"b"}}}}, "yes": []bool{true, false}, "large": string(make([]byte, 300)),
		},
	}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, frames := range map[string][][]byte{"whole": whole(message), "in parts": parts(message)} {
		if err := bounded(t, frames[:min(len(frames), 900)]...); err != nil {
			t.Errorf("a message %s: %v", name, err)
		}
	}
	if err := bounded(t, whole(value(compound(0xd0, 30_000, make([]byte, 0)...)))...); err == nil {
		t.Error("a list of nothing is taken")
	}
}

// TestMessagesOfAMQPUnderWayAreBounded: each that has begun is remembered.
func TestMessagesOfAMQPUnderWayAreBounded(t *testing.T) {
	var frames [][]byte
	for i := range mostBegunMessages + 1 {
		frames = append(frames, framed(uint16(i), transferred(1, true), []byte{0}))
	}
	if err := bounded(t, frames[:mostBegunMessages]...); err != nil {
		t.Error(err)
	}
	if err := bounded(t, frames...); err == nil {
		t.Error("any number of messages is under way")
	}
}

// FuzzValuesOfAMQP: what is taken for a message, the library decodes without more
// elements than there are bytes.
func FuzzValuesOfAMQP(f *testing.F) {
	f.Add(value(nestedLists(2)))
	f.Add(value(compound(0xf0, 2, 0xa1, 1, 'a', 1, 'b')))
	f.Add(value([]byte{0xc1, 5, 2, 0xa1, 1, 'a', 0x41}))
	f.Add(value([]byte{0, 0x53, 0x24, 0x45}))
	f.Fuzz(func(t *testing.T, text []byte) {
		v := &values{most: int64(len(text))}
		for rest := text; len(rest) > 0; {
			n, _, err := v.take(rest)
			if err != nil {
				return
			}
			rest = rest[n:]
		}
		if !v.between() {
			return
		}
		var m amqp.Message
		if err := m.UnmarshalBinary(text); err != nil {
			return
		}
		if n := elements(m.Value); n > len(text) {
			t.Errorf("%d elements of %d bytes", n, len(text))
		}
	})
}

func elements(of any) (n int) {
	switch of := of.(type) {
	case []any:
		for _, each := range of {
			n += 1 + elements(each)
		}
	case map[any]any:
		for key, each := range of {
			n += 1 + elements(key) + elements(each)
		}
	case map[string]any:
		for _, each := range of {
			n += 1 + elements(each)
		}
	case []uint64:
		n = len(of)
	case []uint32:
		n = len(of)
	case []bool:
		n = len(of)
	}
	return n
}
