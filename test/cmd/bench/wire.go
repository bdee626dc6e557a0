package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire sees every request and answer of a broker in this process: what reads
// and doorbells cost it, and when it was asked.
type wire struct {
	mu     sync.Mutex
	total  map[netip.Addr]map[int16]volume // by client and kind of request
	listen func(frame)                     // nil for nobody
}

// volume is what passed.
type volume struct {
	Requests int64 `json:"requests"`
	// ToClient and ToBroker are in bytes.
	ToClient int64 `json:"toClient"`
	ToBroker int64 `json:"toBroker"`
}

func (v volume) minus(before volume) volume {
	return volume{v.Requests - before.Requests, v.ToClient - before.ToClient, v.ToBroker - before.ToBroker}
}

// frame is one message of Kafka's protocol.
type frame struct {
	client netip.Addr
	key    int16
	answer bool
	at     time.Time
	body   []byte // valid during the call alone
}

func newWire() *wire { return &wire{total: map[netip.Addr]map[int16]volume{}} }

// tell calls do with each frame until told otherwise; nil ends it.
func (w *wire) tell(do func(frame)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listen = do
}

// from is what a client has moved, by the name of the request.
func (w *wire) from(client netip.Addr) map[string]volume {
	w.mu.Lock()
	defer w.mu.Unlock()
	named := map[string]volume{}
	for key, v := range w.total[client] {
		named[kmsg.NameForKey(key)] = v
	}
	return named
}

func (w *wire) saw(f frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.total[f.client] == nil {
		w.total[f.client] = map[int16]volume{}
	}
	v := w.total[f.client][f.key]
	if f.answer {
		v.ToClient += int64(len(f.body))
	} else {
		v.Requests++
		v.ToBroker += int64(len(f.body))
	}
	w.total[f.client][f.key] = v
	if w.listen != nil {
		w.listen(f)
	}
}

func (w *wire) tap(l net.Listener) net.Listener { return &tappedListener{l, w} }

type tappedListener struct {
	net.Listener
	wire *wire
}

// Accept implements net.Listener.
func (l *tappedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	client := netip.Addr{}
	if address, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		client = address.AddrPort().Addr().Unmap()
	}
	return &tappedConn{Conn: conn, wire: l.wire, client: client, asked: map[int32]int16{}}, nil
}

// tappedConn cuts what passes into frames.
type tappedConn struct {
	net.Conn
	wire    *wire
	client  netip.Addr
	in, out cutter

	mu    sync.Mutex
	asked map[int32]int16 // kind of request by correlation id
}

// Read implements net.Conn.
func (c *tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.feed(b[:n], func(body []byte) {
		if len(body) < 8 {
			return
		}
		key, id := int16(binary.BigEndian.Uint16(body)), int32(binary.BigEndian.Uint32(body[4:]))
		c.mu.Lock()
		c.asked[id] = key
		c.mu.Unlock()
		c.wire.saw(frame{client: c.client, key: key, at: time.Now(), body: body})
	})
	return n, err
}

// Write implements net.Conn.
func (c *tappedConn) Write(b []byte) (int, error) {
	c.out.feed(b, func(body []byte) {
		if len(body) < 4 {
			return
		}
		id := int32(binary.BigEndian.Uint32(body))
		c.mu.Lock()
		key := c.asked[id]
		delete(c.asked, id)
		c.mu.Unlock()
		c.wire.saw(frame{client: c.client, key: key, answer: true, at: time.Now(), body: body})
	})
	return c.Conn.Write(b)
}

// cutter puts a stream's messages together: four bytes of length, then the
// body.
type cutter struct{ held bytes.Buffer }

func (c *cutter) feed(b []byte, whole func(body []byte)) {
	c.held.Write(b)
	for c.held.Len() >= 4 {
		size := int(binary.BigEndian.Uint32(c.held.Bytes()))
		if c.held.Len() < 4+size {
			return
		}
		whole(c.held.Next(4 + size)[4:])
	}
}
