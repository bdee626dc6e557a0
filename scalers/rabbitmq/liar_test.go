package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// liar is a broker that knows as much of AMQP as a queue's length takes, and
// tells it as it likes.
type liar struct {
	address string
	mu      sync.Mutex
	lie     func(method uint32, frame []byte) []byte // what goes out in place of an answer; nil for that
}

func newLiar(t testing.TB) *liar {
	t.Helper()
	l := new(liar)
	l.address = scalertest.Listen(t, l.serve)
	return l
}

func (l *liar) tell(lie func(uint32, []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = lie
}

// answers are those to each method, and what the first of a connection is
// greeted with.
var answers = map[uint32]struct {
	answer    uint32
	arguments string
}{
	0:           {10<<16 | 10, "\x00\x09" + "\x00\x00\x00\x00" + "\x00\x00\x00\x05PLAIN" + "\x00\x00\x00\x05en_US"},
	10<<16 | 11: {10<<16 | 30, "\x00\x64" + "\xff\xff\xff\xff" + "\x00\x00"},
	10<<16 | 40: {10<<16 | 41, "\x00"},
	10<<16 | 50: {10<<16 | 51, ""},
	20<<16 | 10: {20<<16 | 11, "\x00\x00\x00\x00"},
	50<<16 | 10: {50<<16 | 11, "\x04jobs" + "\x00\x00\x00\x07" + "\x00\x00\x00\x00"},
}

// methodIn is the frame of a method.
func methodIn(channel uint16, method uint32, arguments string) []byte {
	frame := binary.BigEndian.AppendUint16([]byte{methodFrame}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(4+len(arguments)))
	frame = binary.BigEndian.AppendUint32(frame, method)
	return append(append(frame, arguments...), 0xce)
}

func (l *liar) serve(conn net.Conn) {
	if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil || !l.say(conn, 0, 0) {
		return
	}
	for {
		var header [7]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(header[3:])+1)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return
		}
		if header[0] != methodFrame {
			continue
		}
		if !l.say(conn, binary.BigEndian.Uint16(header[1:]), binary.BigEndian.Uint32(payload)) {
			return
		}
	}
}

// say answers a method; false is the end of the connection.
func (l *liar) say(conn net.Conn, channel uint16, method uint32) bool {
	a, known := answers[method]
	if !known {
		return true
	}
	frame := methodIn(channel, a.answer, a.arguments)
	l.mu.Lock()
	lie := l.lie
	l.mu.Unlock()
	if lie != nil {
		frame = lie(a.answer, frame)
	}
	_, err := conn.Write(frame)
	return err == nil
}

// lengthAt asks a broker for the length of a queue, as the sampler does.
func lengthAt(t testing.TB, address string, limit time.Duration) error {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	defer release()
	source, err := openRabbitMQ(ctx, rabbitmqParams{
		hostParams: hostParams{Host: "amqp://guest:guest@" + address, Protocol: protocolAMQP}, QueueName: "jobs",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = source.Read(ctx)
	return err
}

// TestLyingBroker has a broker announce more than there is, send what nobody
// had asked for, and both without end. The reading fails and says so; nothing is
// left behind of the connection.
func TestLyingBroker(t *testing.T) {
	endless := func(piece []byte) []byte {
		return []byte(strings.Repeat(string(piece), 32<<20/len(piece)))
	}
	heartbeat := []byte{heartbeatFrame, 0, 0, 0, 0, 0, 0, 0xce}
	greeting, opened, declared := uint32(10<<16|10), uint32(20<<16|11), uint32(50<<16|11)
	tests := map[string]struct {
		of   uint32 // the answer that the lie takes the place of
		lie  func(frame []byte) []byte
		want string
	}{
		"the length of a frame": {
			declared, func([]byte) []byte { return []byte{methodFrame, 0, 1, 0xff, 0xff, 0xff, 0xff} }, "announced a frame of 4294967295 bytes"},
		"the length of a table": {
			greeting, func([]byte) []byte {
				return methodIn(0, greeting, "\x00\x09\x7f\xff\xff\xff"+strings.Repeat("x", 100))
			}, "announced more than the frame has"},
		"the length of a text": {
			opened, func([]byte) []byte { return methodIn(1, opened, "\x7f\xff\xff\xff") }, "announced more than the frame has"},
		"a message": {
			declared, func([]byte) []byte {
				deliver := methodIn(1, 60<<16|60, "\x00"+strings.Repeat("\x00", 9)+"\x00\x00")
				header := append([]byte{2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0xce)
				body := append([]byte{3, 0, 1, 0, 0, 4, 0}, append(make([]byte, 1024), 0xce)...)
				return append(append(deliver, header...), endless(body)...)
			}, "a method that nobody had asked for"},
		"the body of a message": {
			declared, func([]byte) []byte { return append([]byte{3, 0, 1, 0, 0, 0, 4}, 1, 2, 3, 4, 0xce) }, "a frame that nobody had asked for"},
		"heartbeats": {
			declared, func([]byte) []byte { return endless(heartbeat) }, "frames in a second"},
		"greetings": {
			greeting, func(frame []byte) []byte { return endless(frame) }, "out of turn"},
		"what a channel is told before it is there": {
			greeting, func([]byte) []byte { return methodIn(0, declared, "") }, "a method that nobody had asked for"},
		"more than a method has": {
			declared, func([]byte) []byte { return methodIn(1, declared, strings.Repeat("\x00", 500)) }, "more than the method has"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t)
			l.tell(func(method uint32, frame []byte) []byte {
				if method != tt.of {
					return frame
				}
				return tt.lie(frame)
			})
			err := lengthAt(t, l.address, 20*time.Second)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestTellsTheTruth has the broker of these tests answer as a broker does.
func TestTellsTheTruth(t *testing.T) {
	if err := lengthAt(t, newLiar(t).address, 20*time.Second); err != nil {
		t.Error(err)
	}
}

// FuzzBroker reads a queue's length from a broker whose answers are altered: cut
// off, longer or shorter than they say, repeated, numbers exchanged. Each
// reading ends, with all that the connection had running, and takes little
// memory.
func FuzzBroker(f *testing.F) {
	for _, lies := range [][]byte{
		{}, {0, 0, 0, 4, 0xff, 0xff, 0xff, 0x7f}, {1, 1, 0, 9, 0, 0, 0, 0}, {2, 2, 0, 2, 0, 0, 0, 0}, {3, 3, 0, 0, 0, 0, 0x40, 0},
		{4, 0, 0, 7, 0, 60, 0, 60}, {0, 2, 0, 50, 0, 0, 0, 0}, {3, 4, 0, 0, 2, 0, 0, 0},
	} {
		f.Add(lies)
	}
	l := newLiar(f)
	f.Fuzz(func(t *testing.T, lies []byte) {
		var mu sync.Mutex
		n := byte(0)
		l.tell(func(_ uint32, frame []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			n++
			return scalertest.Alter(frame, n-1, lies, 1<<20)
		})
		before := scalertest.Allocated()
		if err := lengthAt(t, l.address, 300*time.Millisecond); err != nil && status.Code(err) == codes.Unknown {
			t.Errorf("an error without a code: %v", err)
		}
		if took := scalertest.Allocated() - before; took > 128<<20 {
			t.Errorf("%d bytes taken", took)
		}
	})
}
