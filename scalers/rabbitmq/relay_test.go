package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// relay passes AMQP frames between clients and a real broker. A declaration of
// the queue "hangs" gets no answer, as of a queue that has lost its leader; one
// of "poisoned" ends the connection, as a defect in the broker does.
type relay struct {
	listener net.Listener
	target   string
	accepted atomic.Int64

	running sync.WaitGroup
	mu      sync.Mutex
	open    []net.Conn
}

func relayed(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, target: target}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		listener.Close()
		r.mu.Lock()
		for _, conn := range r.open {
			conn.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.accepted.Add(1)
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.target)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		r.open = append(r.open, client, server)
		r.mu.Unlock()
		r.running.Go(func() {
			defer client.Close()
			_, _ = io.Copy(client, server)
		})
		r.running.Go(func() {
			defer server.Close()
			_ = pass(client, server)
		})
	}
}

// pass hands frames on from client to server.
//
// Source: section 2.3 of https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf
func pass(client io.ReadWriter, server io.Writer) error {
	if _, err := io.CopyN(server, client, 8); err != nil { // "AMQP" and a version
		return err
	}
	for {
		frame := make([]byte, 7) // type, channel, size
		if _, err := io.ReadFull(client, frame); err != nil {
			return err
		}
		frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame[3:])+1)...)
		if _, err := io.ReadFull(client, frame[7:]); err != nil {
			return err
		}
		declares := frame[0] == 1 && bytes.HasPrefix(frame[7:], []byte{0, 50, 0, 10})
		switch {
		case declares && bytes.Contains(frame, []byte("hangs")):
			continue
		case declares && bytes.Contains(frame, []byte("poisoned")):
			// connection.close with code 541 and no text, on channel 0.
			_, err := client.Write([]byte{1, 0, 0, 0, 0, 0, 11, 0, 10, 0, 50, 541 >> 8, 541 & 0xff, 0, 0, 0, 0, 0, 0xce})
			if err != nil {
				return err
			}
			continue
		}
		if _, err := server.Write(frame); err != nil {
			return err
		}
	}
}

// TestHangingQueueDelaysNoOther proves that a queue without an answer costs its
// channel, that the others are read meanwhile and after, and that a connection
// whose channels all hang is replaced.
func TestHangingQueueDelaysNoOther(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	asked := append([]string{"hangs"}, names("q", 20)...)
	for _, name := range asked {
		o.queue(name, 1)
	}
	relay := relayed(t, r.AMQPAddr())
	sources := opened(t, amqpAt(relay.listener.Addr().String(), v), asked...)
	began := time.Now()
	batch(t, within(t), sources[1:])
	// Enough for the others on any machine, and what each round takes.
	deadline := 200*time.Millisecond + 20*time.Since(began)
	for round := range hangingMost + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		results := batch(t, ctx, sources)
		cancel()
		for i, result := range results {
			switch {
			case i == 0:
				if codeOf(result.Err) != codes.DeadlineExceeded {
					t.Errorf("round %d: the hanging queue: %v, want DeadlineExceeded", round, result.Err)
				}
			case result.Err != nil:
				t.Errorf("round %d: another queue: %v", round, result.Err)
			}
		}
	}
	if got := relay.accepted.Load(); got != 2 {
		t.Errorf("%d connections in %d rounds, want 2", got, hangingMost+1)
	}
}

// TestManyHangingQueuesDelayNoOther has more queues without an answer than a
// connection has channels: the others are read in the same turn, the first.
func TestManyHangingQueuesDelayNoOther(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	queues, hanging := names("q", 20), names("hangs", 3*channels)
	for _, name := range append(hanging, queues...) {
		o.queue(name, 1)
	}
	address := amqpAt(relayed(t, r.AMQPAddr()).listener.Addr().String(), v)
	family := scalertest.Serve(t, rabbitmq)
	for _, name := range hanging {
		family.Watch(t, "rabbitmq", map[string]string{"host": address, "queueName": name}, scalerv1.Mode_MODE_ACTIVE, time.Hour)
	}
	answered(t, family, address, queues)
}

// TestPoisonedQueueEndsNoOther proves that a queue whose declaration ends the
// connection keeps none of the others from being read.
func TestPoisonedQueueEndsNoOther(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	asked := append(names("q", 20), "poisoned")
	asked = append(asked, names("p", 20)...)
	for _, name := range asked {
		o.queue(name, 1)
	}
	relay := relayed(t, r.AMQPAddr())
	for i, result := range batch(t, within(t), opened(t, amqpAt(relay.listener.Addr().String(), v), asked...)) {
		switch {
		case asked[i] == "poisoned":
			if codeOf(result.Err) != codes.Unavailable {
				t.Errorf("the poisoned queue: %v, want Unavailable", result.Err)
			}
		case result.Err != nil:
			t.Errorf("queue %s: %v", asked[i], result.Err)
		}
	}
	if got := relay.accepted.Load(); got > attempts {
		t.Errorf("%d connections for one batch, want at most %d", got, attempts)
	}
}

func amqpAt(address, vhost string) string {
	return "amqp://" + servers.RabbitMQUser + ":" + servers.RabbitMQPassword + "@" + address + "/" + vhost
}
