package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// mostFrame is the most of one frame, in bytes. Those that a broker sends
	// here are small; the largest is its greeting.
	mostFrame = 8 << 10
	// mostFrames is how many frames a second a broker may send. 500 queues are
	// as many.
	mostFrames = 20_000
)

// frames is a connection to a broker that hands frames over whole, once they are
// known to be some that this client asks for. The library reads the parts of
// a frame by the lengths that stand in them, whatever the frame's own is, and
// puts the bodies of messages together that nobody wants.
type frames struct {
	net.Conn
	peer string
	from *bufio.Reader

	whole   int       // bytes of the frame that is handed over
	stage   byte      // how far the connection has come
	began   time.Time // when the second began
	count   int       // of the frames in it
	refused atomic.Pointer[client.PeerError]
}

func newFrames(conn net.Conn, peer string) *frames {
	return &frames{Conn: conn, peer: peer, from: bufio.NewReaderSize(conn, mostFrame)}
}

// refusal is why the connection was ended by this side, nil for none.
func (f *frames) refusal() error {
	if f == nil || f.refused.Load() == nil {
		return nil
	}
	return f.refused.Load()
}

// Read hands over the next piece of a frame.
func (f *frames) Read(p []byte) (int, error) {
	if f.whole == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.from.Read(p[:min(len(p), f.whole)])
	f.whole -= n
	return n, err
}

// next receives a frame and looks at it.
func (f *frames) next() error {
	const header, end = 1 + 2 + 4, 1
	start, err := f.from.Peek(header)
	if err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(start[3:]))
	if size > mostFrame-header-end {
		return f.refuse(fmt.Errorf("the broker announced a frame of %d bytes, more than %d", size, mostFrame))
	}
	frame, err := f.from.Peek(header + int(size) + end)
	if err != nil {
		return err
	}
	if err := f.check(frame[0], binary.BigEndian.Uint16(frame[1:]), frame[header:header+size]); err != nil {
		return f.refuse(err)
	}
	f.whole = len(frame)
	return nil
}

// Kinds of frames.
const (
	methodFrame    = 1
	heartbeatFrame = 8
)

// check looks at one frame.
func (f *frames) check(kind byte, channel uint16, payload []byte) error {
	if now := time.Now(); now.Sub(f.began) >= time.Second {
		f.began, f.count = now, 0
	}
	if f.count++; f.count > mostFrames {
		return fmt.Errorf("the broker sent more than %d frames in a second", mostFrames)
	}
	switch {
	case kind == heartbeatFrame && len(payload) == 0 && channel == 0:
		return nil
	case kind != methodFrame || len(payload) < 4:
		return errors.New("the broker sent a frame that nobody had asked for")
	}
	m, known := methods[binary.BigEndian.Uint32(payload)]
	if !known || m.inChannel != (channel != 0) {
		return errors.New("the broker sent a method that nobody had asked for")
	}
	if m.stage != 0 {
		if m.stage != f.stage+1 {
			return errors.New("the broker sent a part of the login out of turn")
		}
		f.stage = m.stage
	}
	return m.check(payload[4:])
}

// refuse ends a connection whose broker does not keep to the protocol.
func (f *frames) refuse(reason error) error {
	r := &client.PeerError{Peer: f.peer, Reason: reason}
	f.refused.Store(r)
	f.Close()
	return r
}

// argument walks over one argument of a method, and returns what follows; false
// is one that is longer than the frame.
type argument func(rest []byte) ([]byte, bool)

func fixed(n int) argument {
	return func(rest []byte) ([]byte, bool) { return rest[min(n, len(rest)):], n <= len(rest) }
}

// lengthed is an argument of so many bytes as the number before it says.
func lengthed(size int) argument {
	return func(rest []byte) ([]byte, bool) {
		if len(rest) < size {
			return nil, false
		}
		n := uint64(0)
		for _, b := range rest[:size] {
			n = n<<8 | uint64(b)
		}
		rest = rest[size:]
		if n > uint64(len(rest)) {
			return nil, false
		}
		return rest[n:], true
	}
}

var short, long = lengthed(1), lengthed(4)

// method is one that a broker may send here.
type method struct {
	inChannel bool // and not for the connection
	stage     byte // of the login, in order; 0 for what has its place anywhere
	arguments []argument
}

// methods are known by their class and number. Messages are none of them:
// nothing is consumed here.
//
// Source: https://www.rabbitmq.com/amqp-0-9-1-reference
var methods = map[uint32]method{
	10<<16 | 10: {stage: 1, arguments: []argument{fixed(2), long, long, long}},       // connection.start
	10<<16 | 30: {stage: 2, arguments: []argument{fixed(8)}},                         // connection.tune
	10<<16 | 41: {stage: 3, arguments: []argument{short}},                            // connection.open-ok
	10<<16 | 50: {arguments: []argument{fixed(2), short, fixed(4)}},                  // connection.close
	10<<16 | 51: {},                                                                  // connection.close-ok
	10<<16 | 60: {arguments: []argument{short}},                                      // connection.blocked
	10<<16 | 61: {},                                                                  // connection.unblocked
	20<<16 | 11: {inChannel: true, arguments: []argument{long}},                      // channel.open-ok
	20<<16 | 20: {inChannel: true, arguments: []argument{fixed(1)}},                  // channel.flow
	20<<16 | 40: {inChannel: true, arguments: []argument{fixed(2), short, fixed(4)}}, // channel.close
	20<<16 | 41: {inChannel: true},                                                   // channel.close-ok
	50<<16 | 11: {inChannel: true, arguments: []argument{short, fixed(8)}},           // queue.declare-ok
}

// check walks over the arguments, which fill the frame.
func (m method) check(rest []byte) error {
	for _, walk := range m.arguments {
		var ok bool
		if rest, ok = walk(rest); !ok {
			return errors.New("the broker announced more than the frame has")
		}
	}
	if len(rest) > 0 {
		return errors.New("the broker sent more than the method has")
	}
	return nil
}
