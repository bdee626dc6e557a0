package brokers

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSServer is a real server with JetStream, in this process.
type NATSServer struct {
	options *server.Options
	running *server.Server
}

// StartNATS runs a server at an address, which keeps its streams in a folder.
func StartNATS(address, folder string) (*NATSServer, error) {
	s := &NATSServer{options: &server.Options{
		ServerName: "nats", Host: address, Port: server.RANDOM_PORT, HTTPHost: address, HTTPPort: -1,
		JetStream: true, StoreDir: folder, NoSigs: true, NoLog: true,
	}}
	if err := s.Start(); err != nil {
		return nil, err
	}
	s.options.Port = s.running.Addr().(*net.TCPAddr).Port
	s.options.HTTPPort = s.running.MonitorAddr().Port
	return s, nil
}

// Start starts a server that was ended, at the same ports.
func (s *NATSServer) Start() error {
	running, err := server.NewServer(s.options.Clone())
	if err != nil {
		return err
	}
	s.running = running
	running.Start()
	if !running.ReadyForConnections(time.Minute) {
		return errors.New("the server does not start")
	}
	return nil
}

// Close ends the server.
func (s *NATSServer) Close() error {
	s.running.Shutdown()
	s.running.WaitForShutdown()
	return nil
}

// Monitoring is host:port of the monitoring port.
func (s *NATSServer) Monitoring() string { return s.running.MonitorAddr().String() }

// Clients is host:port of the client port.
func (s *NATSServer) Clients() string { return s.running.Addr().String() }

// NATSStream is a stream with one durable consumer.
type NATSStream struct {
	server   *NATSServer
	conn     *nats.Conn
	js       jetstream.JetStream
	consumer jetstream.Consumer
	name     string
}

// NewNATSStream makes a stream. Its subject is its name.
func NewNATSStream(ctx context.Context, s *NATSServer, name string) (*NATSStream, error) {
	conn, err := nats.Connect(s.running.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	q := &NATSStream{server: s, conn: conn, name: name}
	if q.js, err = jetstream.New(conn); err == nil {
		_, err = q.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}})
	}
	if err == nil {
		q.consumer, err = q.js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return q, nil
}

// Produce implements Queue.
func (q *NATSStream) Produce(ctx context.Context, n int) error {
	for i := range n {
		if _, err := q.js.Publish(ctx, q.name, []byte("message "+strconv.Itoa(i))); err != nil {
			return err
		}
	}
	return nil
}

// Consume implements Queue.
func (q *NATSStream) Consume(ctx context.Context, n int) error {
	batch, err := q.consumer.Fetch(n)
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(ctx); err != nil {
			return err
		}
	}
	return batch.Error()
}

// Backlog implements Queue.
func (q *NATSStream) Backlog(ctx context.Context) (int64, error) {
	info, err := q.consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int64(info.NumPending) + int64(info.NumAckPending), nil
}

// Trigger implements Queue.
func (q *NATSStream) Trigger(perReplica int) Trigger {
	return Trigger{Type: "nats-jetstream", Metadata: map[string]string{
		"natsServerMonitoringEndpoint": q.server.Monitoring(),
		"natsServerEndpoint":           q.server.Clients(),
		"account":                      "$G",
		"stream":                       q.name,
		"consumer":                     "workers",
		"lagThreshold":                 strconv.Itoa(perReplica),
	}}
}

// Close implements Queue.
func (q *NATSStream) Close() { q.conn.Close() }
