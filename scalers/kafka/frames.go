package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// mostAnswer is the most of one answer, in bytes: that to 500 triggers about
	// a hundred partitions each is half of it.
	mostAnswer = 8 << 20
	// mostLogin is the most of one answer of a login that is not in the protocol
	// of requests, as before Kafka 1.0.
	mostLogin = 64 << 10
	// keptBuffer is how much memory stays with a connection between answers.
	keptBuffer = 64 << 10
)

// frames is a connection to a broker that hands answers over whole, once they
// are known to be decoded within bounds. The client takes memory for an answer
// when it has seen the first four bytes of it.
type frames struct {
	net.Conn
	peer   string
	from   *bufio.Reader
	memory memory

	buffer bytes.Buffer // of the answer that is handed over
	held   atomic.Int64 // bytes of it, where that is counted

	mu    sync.Mutex
	asked []asked // and not answered yet, in the order of both
}

// memory counts what answers take.
type memory interface {
	// Decoded counts what the client is about to take for an answer.
	Decoded(bytes int) error
	// Holding counts what is buffered.
	Holding(change int)
}

// asked is what is known about a request.
type asked struct {
	key, version int16
	login        bool // a message of a login without a header
}

func newFrames(conn net.Conn, peer string, of memory) *frames {
	return &frames{Conn: conn, peer: peer, memory: of, from: bufio.NewReader(conn)}
}

// hold changes how much is said to be buffered.
func (f *frames) hold(bytes int64) { f.memory.Holding(int(bytes - f.held.Swap(bytes))) }

// Close implements net.Conn.
func (f *frames) Close() error {
	f.hold(0)
	return f.Conn.Close()
}

// Write sends requests. The client hands over each in one piece.
func (f *frames) Write(p []byte) (int, error) {
	a, err := headerOf(p)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.asked = append(f.asked, a)
	f.mu.Unlock()
	return f.Conn.Write(p)
}

// headerOf takes the header of a request: its length, key, version and number, and
// the name of the client.
func headerOf(request []byte) (asked, error) {
	const name = 4 + 2 + 2 + 4
	if len(request) < name+2+len(clientID) || string(request[name+2:name+2+len(clientID)]) != clientID {
		return asked{login: true}, nil
	}
	a := asked{key: int16(binary.BigEndian.Uint16(request[4:])), version: int16(binary.BigEndian.Uint16(request[6:]))}
	if _, known := layouts[a.key]; !known {
		return a, fmt.Errorf("requests of kind %d are not made here: nothing is known about their answers", a.key)
	}
	return a, nil
}

// Read hands over the next piece of an answer.
func (f *frames) Read(p []byte) (int, error) {
	if f.buffer.Len() == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.buffer.Read(p)
	if f.buffer.Len() == 0 {
		f.hold(0)
	}
	return n, err
}

// next receives an answer and looks at it.
func (f *frames) next() error {
	if f.buffer.Cap() > keptBuffer {
		f.buffer = bytes.Buffer{}
	}
	length, err := f.from.Peek(4)
	if err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(length))
	if size > mostAnswer {
		return f.refuse(fmt.Errorf("the broker announced an answer of %d bytes, more than %d", size, mostAnswer))
	}
	if size > keptBuffer {
		f.hold(size)
	}
	if _, err := io.CopyN(&f.buffer, f.from, 4+size); err != nil {
		f.drop()
		return err
	}
	decoded, err := f.check(f.buffer.Bytes()[4:])
	if err == nil {
		err = f.memory.Decoded(decoded)
	}
	if err != nil {
		f.drop()
		return f.refuse(err)
	}
	return nil
}

// drop forgets an answer that nobody gets.
func (f *frames) drop() {
	f.buffer = bytes.Buffer{}
	f.hold(0)
}

// check looks at an answer to the oldest request without one.
func (f *frames) check(answer []byte) (decoded int, err error) {
	a, ok := f.oldest()
	switch {
	case !ok:
		return 0, errors.New("the broker answered what nobody had asked")
	case a.login && len(answer) > mostLogin:
		return 0, fmt.Errorf("the broker answered a login with more than %d bytes", mostLogin)
	case a.login:
		return 0, nil
	case len(answer) < 4:
		return 0, errShort
	}
	return a.check(answer[4:]) // after the number of the request
}

func (f *frames) oldest() (a asked, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return a, false
	}
	a, f.asked = f.asked[0], f.asked[1:]
	return a, true
}

// check walks through an answer as the client will.
func (a asked) check(answer []byte) (decoded int, err error) {
	l, version := layouts[a.key], a.version
	if a.key == apiVersionsKey {
		// It is what versions are agreed on with: no tags in front, and one
		// that the broker does not know is answered in the first.
		if len(answer) > 1 && answer[1] == unsupportedVersion {
			version = 0
		}
		return l.check(answer, version)
	}
	return l.checkTagged(answer, version)
}

const unsupportedVersion = 35

// refuse ends a connection whose broker does not keep to the protocol.
func (f *frames) refuse(reason error) error {
	f.Close()
	return &client.PeerError{Peer: f.peer, Reason: reason}
}
