package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// Limits of a connection.
const (
	dialLimit = 5 * time.Second
	// answerLimit is how long a broker may take to answer one request, and to
	// greet a new connection. It is shorter than a read's deadline, so that a
	// connection that was lost on the way is made anew within it.
	answerLimit = 4 * time.Second
	// idleLimit keeps connections over the usual polling intervals and ends
	// them before brokers do (10 minutes by default).
	idleLimit = 8 * time.Minute
	// tries bounds how often a request is sent again within one read.
	tries = 3
)

// Kafka's numbers of requests, and the last versions of them that name topics
// by name. A topic created anew under its name is the same doorbell.
const (
	fetchKey     = 1
	fetchVersion = 12

	offsetFetchKey     = 9
	offsetFetchVersion = 9
)

// clientID is how this client introduces itself to brokers.
const clientID = "sluice"

// cluster is one Kafka cluster as one identity: a client, shared by all
// triggers, whose connections do not grow with their number. It is the batch
// of its sources.
type cluster struct {
	client       *kgo.Client
	brokers      *brokers
	coordinators *coordinators
	traffic      *traffic
	watcher      *watcher

	stop    context.CancelFunc
	running sync.WaitGroup // what goes on beside the reads
}

// endpoint is how a cluster is reached.
type endpoint struct {
	servers []string
	version string
	security

	hashing *client.Hashing // of its logins
}

// connect returns the client of a cluster. It dials nothing yet: a broker that
// is down is an error of the read, not of the trigger. The client outlives ctx,
// until Close.
func (e endpoint) connect(ctx context.Context) (*cluster, error) {
	counted := new(traffic)
	e.hashing = client.HashingOf(ctx)
	dialer := e.dialer(client.DialerOf(ctx))
	for _, server := range e.servers {
		if err := dialer.Check(hostOf(server)); err != nil {
			return nil, err
		}
	}
	dial := e.dialler(dialer)
	franz, err := e.client(dial, counted, e.servers...)
	if err != nil {
		return nil, fmt.Errorf("bootstrapServers: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &cluster{client: franz, traffic: counted, stop: stop}
	c.brokers = &brokers{
		client: franz, seeds: e.servers, reading: dialer.Reading, held: client.FurtherServers(ctx), standings: make(map[int32]*standing),
		start: func(run func(context.Context)) { c.running.Go(func() { run(ctx) }) },
	}
	c.coordinators = &coordinators{brokers: c.brokers, node: make(map[string]int32)}
	c.watcher = newWatcher(ctx, franz, func(broker int32) (*kgo.Client, error) {
		at, err := c.brokers.address(broker)
		if err != nil {
			return nil, err
		}
		return e.client(dial, counted, at)
	})
	return c, nil
}

// client returns a client that knows these servers to begin with.
func (e endpoint) client(dial dialFunc, counted *traffic, servers ...string) (*kgo.Client, error) {
	versions, err := protocol(e.version)
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.ClientID(clientID),
		kgo.SeedBrokers(servers...),
		kgo.MaxVersions(versions),
		kgo.WithHooks(counted),
		kgo.Dialer(dial),
		kgo.RequestTimeoutOverhead(answerLimit),
		kgo.ConnIdleTimeout(idleLimit),
		kgo.RequestRetries(tries),
		kgo.RetryBackoffFn(backoff),
		kgo.DisableClientMetrics(),
		kgo.FetchMaxBytes(mostAnswer), // not used, and no more than the next
		kgo.BrokerMaxReadBytes(mostAnswer),
	}
	if e.login != nil {
		options = append(options, kgo.SASL(careful{e.login, e.hashing}))
	}
	return kgo.NewClient(options...) //dials:through kgo.Dialer
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialler connects to one broker.
func (e endpoint) dialler(d *client.Dialer) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialLimit)
		defer cancel()
		conn, err := e.dial(ctx, d, network, address)
		if err != nil {
			return nil, err
		}
		return newFrames(conn, address, d), nil
	}
}

func (e endpoint) dial(ctx context.Context, d *client.Dialer, network, address string) (net.Conn, error) {
	if e.tls == nil {
		return d.DialContext(ctx, network, address)
	}
	return d.DialTLS(ctx, network, address, e.tls)
}

// Cost is that of the client, with connections for reads and for a doorbell.
func (*cluster) Cost() int { return 160 << 10 }

// Close ends the doorbell and the connections.
func (c *cluster) Close() error {
	c.watcher.close()
	c.stop()
	c.client.Close()
	c.running.Wait()
	return c.brokers.held.Set(0)
}

// backoff is the wait before a request is sent again.
func backoff(failures int) time.Duration {
	return min(100*time.Millisecond<<min(failures-1, 4), time.Second)
}

// protocol bounds the protocol to that of a Kafka version; without one, client
// and broker agree on the newest that both know.
func protocol(version string) (*kversion.Versions, error) {
	versions := kversion.Stable()
	if version != "" {
		if versions = kversion.FromString(version); versions == nil {
			return nil, fmt.Errorf("version: %q is not a Kafka version", version)
		}
	}
	for key, last := range map[int16]int16{fetchKey: fetchVersion, offsetFetchKey: offsetFetchVersion} {
		if newest, ok := versions.LookupMaxKeyVersion(key); ok {
			versions.SetMaxKeyVersion(key, min(newest, last))
		}
	}
	return versions, nil
}

// seeds are the servers to begin with, sorted, each once.
func seeds(servers []string) []string {
	var named []string
	for _, server := range servers {
		if server = strings.TrimSpace(server); server != "" {
			named = append(named, server)
		}
	}
	slices.Sort(named)
	return slices.Compact(named)
}

// hostOf is a server without its port.
func hostOf(server string) string {
	if host, _, err := net.SplitHostPort(server); err == nil {
		return host
	}
	return server
}

// Endpoints where each byte fetched is billed, or that only speak like Kafka.
var meteredDomains = []string{
	".servicebus.windows.net",
	".servicebus.usgovcloudapi.net",
	".servicebus.chinacloudapi.cn",
	".confluent.cloud",
}

// metered names the first server that a fetch should not be parked at unasked.
func metered(servers []string) string {
	for _, server := range servers {
		host := strings.ToLower(strings.TrimSuffix(hostOf(server), "."))
		for _, domain := range meteredDomains {
			if strings.HasSuffix(host, domain) {
				return host
			}
		}
		if strings.Contains(host, ".kafka-serverless.") && strings.HasSuffix(host, ".amazonaws.com") {
			return host
		}
	}
	return ""
}
