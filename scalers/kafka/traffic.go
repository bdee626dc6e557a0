package main

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// traffic counts what a client moves: what reads and doorbells cost a cluster.
type traffic struct {
	// connections is how many are open, dialled how many ever were.
	connections, dialled atomic.Int64
	// fetched is the size of the answers to fetches, in bytes: the doorbell's
	// part of what was read.
	fetched atomic.Int64
	// read and written are all bytes.
	read, written atomic.Int64
	// requests counts requests by their number in the protocol.
	requests [kmsg.MaxKey + 1]atomic.Int64
}

var (
	_ kgo.HookBrokerConnect    = (*traffic)(nil)
	_ kgo.HookBrokerDisconnect = (*traffic)(nil)
	_ kgo.HookBrokerRead       = (*traffic)(nil)
	_ kgo.HookBrokerWrite      = (*traffic)(nil)
)

// OnBrokerConnect counts an opened connection.
func (t *traffic) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		t.connections.Add(1)
		t.dialled.Add(1)
	}
}

// OnBrokerDisconnect counts a closed connection.
func (t *traffic) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { t.connections.Add(-1) }

// OnBrokerRead counts an answer.
func (t *traffic) OnBrokerRead(_ kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, _ error) {
	t.read.Add(int64(bytes))
	if key == fetchKey {
		t.fetched.Add(int64(bytes))
	}
}

// OnBrokerWrite counts a request.
func (t *traffic) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, _ error) {
	t.written.Add(int64(bytes))
	if 0 <= key && int(key) < len(t.requests) {
		t.requests[key].Add(1)
	}
}
