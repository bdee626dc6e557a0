package main

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// lie is what a broker sends in place of an answer, its length included.
type lie func(a asked, answer []byte) []byte

// liar is a broker that answers as it likes.
type liar struct {
	servers string
	mu      sync.Mutex
	lie     lie // nil for none
}

// newLiar starts one that has a topic and a group.
func newLiar(t testing.TB) *liar {
	t.Helper()
	l := new(liar)
	_, l.servers = fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(3, "jobs"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
		return lyingListener{listener, l}, err
	}))
	o := operate(t, l.servers)
	o.produce("jobs", 0, 5)
	o.commit("crew", "jobs", 0, 0, 0)
	return l
}

func (l *liar) tell(lie lie) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = lie
}

func (l *liar) answer(a asked, answer []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lie == nil {
		return answer
	}
	return l.lie(a, answer)
}

type lyingListener struct {
	net.Listener
	liar *liar
}

func (l lyingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lyingConn{Conn: conn, liar: l.liar}, nil
}

// lyingConn is the broker's side of a connection.
type lyingConn struct {
	net.Conn
	liar *liar
	mu   sync.Mutex
	part []byte // of a request
	came []asked
}

func (c *lyingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = append(c.part, p[:n]...)
	for len(c.part) >= 4 {
		size := 4 + int(binary.BigEndian.Uint32(c.part))
		if len(c.part) < size {
			break
		}
		c.came = append(c.came, asked{
			key: int16(binary.BigEndian.Uint16(c.part[4:])), version: int16(binary.BigEndian.Uint16(c.part[6:])),
		})
		c.part = c.part[size:]
	}
	return n, err
}

func (c *lyingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	a := c.came[0]
	c.came = c.came[1:]
	c.mu.Unlock()
	if _, err := c.Conn.Write(c.liar.answer(a, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
