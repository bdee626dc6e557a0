package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// started runs a server with JetStream until the test ends. It is a real one,
// in this process.
func started(t testing.TB, change func(*natsd.Options)) *natsd.Server {
	t.Helper()
	o := &natsd.Options{
		ServerName: "alone", Host: "127.0.0.1", Port: natsd.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: -1,
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}
	if change != nil {
		change(o)
	}
	return run(t, o)
}

// run starts a server with these options.
func run(t testing.TB, o *natsd.Options) *natsd.Server {
	t.Helper()
	s, err := natsd.NewServer(o.Clone())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { end(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s
}

func end(s *natsd.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// monitoringPort is host:port of a server's monitoring port.
func monitoringPort(s *natsd.Server) string { return s.MonitorAddr().String() }

// operator is somebody at work on a server.
type operator struct {
	t  testing.TB
	nc *nats.Conn
	js jetstream.JetStream
}

func operate(t testing.TB, address string, options ...nats.Option) operator {
	t.Helper()
	nc, err := nats.Connect(address, append(options, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return operator{t, nc, js}
}

// stream makes a stream with one durable consumer for each name.
func (o operator) stream(config jetstream.StreamConfig, consumers ...string) {
	o.t.Helper()
	if _, err := o.js.CreateOrUpdateStream(within(o.t), config); err != nil {
		o.t.Fatal(err)
	}
	for _, name := range consumers {
		o.consumer(config.Name, jetstream.ConsumerConfig{Durable: name})
	}
}

func (o operator) consumer(stream string, config jetstream.ConsumerConfig) {
	o.t.Helper()
	config.AckPolicy, config.AckWait = jetstream.AckExplicitPolicy, time.Hour
	if _, err := o.js.CreateOrUpdateConsumer(within(o.t), stream, config); err != nil {
		o.t.Fatal(err)
	}
}

// publish has messages stored.
func (o operator) publish(subject string, messages int) {
	o.t.Helper()
	for range messages {
		if _, err := o.js.Publish(within(o.t), subject, []byte("work"), jetstream.WithRetryAttempts(100)); err != nil {
			o.t.Fatal(err)
		}
	}
}

// take fetches messages and acknowledges so many of them.
func (o operator) take(stream, consumer string, messages, acknowledged int) {
	o.t.Helper()
	c, err := o.js.Consumer(within(o.t), stream, consumer)
	if err != nil {
		o.t.Fatal(err)
	}
	batch, err := c.Fetch(messages, jetstream.FetchMaxWait(patience))
	if err != nil {
		o.t.Fatal(err)
	}
	for m := range batch.Messages() {
		if acknowledged--; acknowledged >= 0 {
			if err := m.DoubleAck(within(o.t)); err != nil {
				o.t.Fatal(err)
			}
		}
	}
}

// leader is the server that leads a consumer.
func (o operator) leader(stream, consumer string) string {
	o.t.Helper()
	var name string
	eventually(o.t, "a leader of consumer "+consumer, func() bool {
		ctx, cancel := context.WithTimeout(o.t.Context(), time.Second) // nobody answers while there is none
		defer cancel()
		c, err := o.js.Consumer(ctx, stream, consumer)
		if err != nil {
			return false
		}
		name = c.CachedInfo().Cluster.Leader
		return name != ""
	})
	return name
}

// cluster is three servers. Their monitoring ports are behind proxies at the
// addresses that clients are told, 127.0.0.1 to 127.0.0.3, all with one port.
type cluster struct {
	t       testing.TB
	options []*natsd.Options
	servers []*natsd.Server
	proxies []*fault.Proxy
	port    int // of the proxies
}

const clusterSize = 3

func clustered(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, port: commonPort(t)}
	var routes []*url.URL
	for i := range clusterSize {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.%d:%d", i+1, commonPort(t))})
	}
	for i := range clusterSize {
		host, port, err := net.SplitHostPort(routes[i].Host)
		if err != nil {
			t.Fatal(err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		c.options = append(c.options, &natsd.Options{
			ServerName: fmt.Sprintf("nats-%d", i), Host: host, Port: commonPort(t), HTTPHost: fmt.Sprintf("127.0.1.%d", i+1), HTTPPort: c.port,
			JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
			Cluster: natsd.ClusterOpts{Name: "test", Host: host, Port: number}, Routes: routes,
		})
		s, err := natsd.NewServer(c.options[i].Clone())
		if err != nil {
			t.Fatal(err)
		}
		c.servers = append(c.servers, s)
		t.Cleanup(func() { end(c.servers[i]) })
		s.Start()
		proxy, err := fault.ListenAt(net.JoinHostPort(host, strconv.Itoa(c.port)), net.JoinHostPort(c.options[i].HTTPHost, strconv.Itoa(c.port)))
		if err != nil {
			t.Fatal(err)
		}
		c.proxies = append(c.proxies, proxy)
		t.Cleanup(func() { proxy.Close() })
	}
	eventually(t, "a leader of all", func() bool {
		for _, s := range c.servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == clusterSize
			}
		}
		return false
	})
	return c
}

// commonPort is one that is free at all addresses of a cluster.
func commonPort(t testing.TB) int {
	t.Helper()
	for {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; port < 65000 {
			return port
		}
	}
}

// endpoint is the monitoring port of a server, as users reach it.
func (c *cluster) endpoint(i int) string { return c.proxies[i].Addr() }

// urls are where clients connect to.
func (c *cluster) urls() string {
	var all string
	for _, o := range c.options {
		all += fmt.Sprintf("nats://%s:%d,", o.Host, o.Port)
	}
	return all[:len(all)-1]
}

// index is the place of a server by its name.
func (c *cluster) index(name string) int {
	c.t.Helper()
	for i, o := range c.options {
		if o.ServerName == name {
			return i
		}
	}
	c.t.Fatalf("no server is called %q", name)
	return -1
}

// kill ends a server, and start begins it anew.
func (c *cluster) kill(i int) { end(c.servers[i]) }

func (c *cluster) start(i int) {
	c.t.Helper()
	s, err := natsd.NewServer(c.options[i].Clone())
	if err != nil {
		c.t.Fatal(err)
	}
	s.Start()
	c.servers[i] = s
}

// listings is how often any of the servers was asked for a listing.
func (c *cluster) listings() (n uint64) {
	c.t.Helper()
	for _, s := range c.servers {
		v, err := s.Varz(nil)
		if err != nil {
			c.t.Fatal(err)
		}
		n += v.HTTPReqStats[natsd.JszPath]
	}
	return n
}
