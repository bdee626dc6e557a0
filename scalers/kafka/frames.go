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
	peer string
	from *bufio.Reader
	// decoded counts memory that the client is about to take for an answer.
	decoded func(bytes int) error

	buffer bytes.Buffer // of the answer that is handed over

	mu    sync.Mutex
	asked []asked // and not answered yet, in the order of both
}

// asked is what is known about a request.
type asked struct {
	key, version int16
	login        bool // a message of a login without a header
}

func newFrames(conn net.Conn, peer string, decoded func(bytes int) error) *frames {
	return &frames{Conn: conn, peer: peer, decoded: decoded, from: bufio.NewReader(conn)}
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
	return f.buffer.Read(p)
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
	if _, err := io.CopyN(&f.buffer, f.from, 4+size); err != nil {
		f.buffer.Reset()
		return err
	}
	bytes, err := f.check(f.buffer.Bytes()[4:])
	if err != nil {
		err = f.refuse(err)
	} else {
		err = f.decoded(bytes)
	}
	if err != nil {
		f.buffer.Reset()
	}
	return err
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
