package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// shown is how much of a server's log a failed test shows.
const shown = 16 << 10

// server is what all kinds of servers have in common.
type server interface {
	Close() error
	processes() []*Node
}

// Kafka starts a cluster that ends with the test. It takes at most one set of
// options, as all functions of this kind.
func Kafka(t testing.TB, options ...KafkaOptions) *KafkaServer {
	t.Helper()
	return own(t, StartKafka, options)
}

// RabbitMQ starts a node that ends with the test.
func RabbitMQ(t testing.TB, options ...RabbitMQOptions) *RabbitMQServer {
	t.Helper()
	return own(t, StartRabbitMQ, options)
}

// Redis starts a server that ends with the test.
func Redis(t testing.TB, options ...RedisOptions) *RedisServer {
	t.Helper()
	return own(t, StartRedis, options)
}

// Sentinel starts a master, a replica and three Sentinels that end with the
// test.
func Sentinel(t testing.TB, options ...RedisOptions) *RedisSentinel {
	t.Helper()
	return own(t, StartRedisSentinel, options)
}

// Cluster starts a Redis Cluster that ends with the test.
func Cluster(t testing.TB, options ...RedisOptions) *RedisCluster {
	t.Helper()
	return own(t, StartRedisCluster, options)
}

// PostgreSQL starts a server that ends with the test.
func PostgreSQL(t testing.TB, options ...PostgreSQLOptions) *PostgreSQLServer {
	t.Helper()
	return own(t, StartPostgreSQL, options)
}

// MariaDB starts a server that ends with the test.
func MariaDB(t testing.TB, options ...MariaDBOptions) *MariaDBServer {
	t.Helper()
	return own(t, StartMariaDB, options)
}

// Moto starts a server that ends with the test.
func Moto(t testing.TB, options ...MotoOptions) *MotoServer {
	t.Helper()
	return own(t, StartMoto, options)
}

// Azurite starts a server that ends with the test.
func Azurite(t testing.TB, options ...AzuriteOptions) *AzuriteServer {
	t.Helper()
	return own(t, StartAzurite, options)
}

// EventHubs starts a stand-in that ends with the test.
func EventHubs(t testing.TB, options ...EventHubsOptions) *EventHubsServer {
	t.Helper()
	return own(t, StartEventHubs, options)
}

// Prometheus starts a server that ends with the test.
func Prometheus(t testing.TB, options ...PrometheusOptions) *PrometheusServer {
	t.Helper()
	return own(t, StartPrometheus, options)
}

// own starts a server that ends with the test.
func own[S server, O any](t testing.TB, start func(context.Context, O) (S, error), options []O) S {
	t.Helper()
	s, err := start(t.Context(), only(options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		show(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The servers that all tests of a binary share: started by the first that
// asks, ended by Ending.
var (
	sharedKafka      shared[*KafkaServer]
	sharedRabbitMQ   shared[*RabbitMQServer]
	sharedRedis      shared[*RedisServer]
	sharedSentinel   shared[*RedisSentinel]
	sharedCluster    shared[*RedisCluster]
	sharedPostgreSQL shared[*PostgreSQLServer]
	sharedMariaDB    shared[*MariaDBServer]
	sharedMoto       shared[*MotoServer]
	sharedPrometheus shared[*PrometheusServer]
	sharedAzurite    shared[*AzuriteServer]

	allShared = []interface{ close() error }{
		&sharedKafka, &sharedRabbitMQ, &sharedRedis, &sharedSentinel, &sharedCluster, &sharedPostgreSQL,
		&sharedMariaDB, &sharedMoto, &sharedPrometheus, &sharedAzurite,
	}
)

// SharedKafka returns the one broker, with default options, that the tests of
// this binary share. The package's TestMain ends it, see Ending. Topics and
// groups are the test's own; whoever breaks the broker starts its own instead.
func SharedKafka(t testing.TB) *KafkaServer {
	t.Helper()
	return share(t, &sharedKafka, StartKafka)
}

// SharedRabbitMQ returns the one node, with default options, that the tests of
// this binary share, as SharedKafka does.
func SharedRabbitMQ(t testing.TB) *RabbitMQServer {
	t.Helper()
	return share(t, &sharedRabbitMQ, StartRabbitMQ)
}

// SharedRedis returns the one server, with default options, that the tests of
// this binary share, as SharedKafka does.
func SharedRedis(t testing.TB) *RedisServer {
	t.Helper()
	return share(t, &sharedRedis, StartRedis)
}

// SharedSentinel returns the one group of Redis and Sentinels, with default
// options, that the tests of this binary share, as SharedKafka does.
func SharedSentinel(t testing.TB) *RedisSentinel {
	t.Helper()
	return share(t, &sharedSentinel, StartRedisSentinel)
}

// SharedCluster returns the one Redis Cluster, with default options, that the
// tests of this binary share, as SharedKafka does.
func SharedCluster(t testing.TB) *RedisCluster {
	t.Helper()
	return share(t, &sharedCluster, StartRedisCluster)
}

// SharedPostgreSQL returns the one server, with default options, that the
// tests of this binary share, as SharedKafka does.
func SharedPostgreSQL(t testing.TB) *PostgreSQLServer {
	t.Helper()
	return share(t, &sharedPostgreSQL, StartPostgreSQL)
}

// SharedMariaDB returns the one server, with default options, that the tests
// of this binary share, as SharedKafka does.
func SharedMariaDB(t testing.TB) *MariaDBServer {
	t.Helper()
	return share(t, &sharedMariaDB, StartMariaDB)
}

// SharedMoto returns the one Moto, open to everybody, that the tests of this
// binary share, as SharedKafka does. Names of queues and tables are the test's
// own.
func SharedMoto(t testing.TB) *MotoServer {
	t.Helper()
	return share(t, &sharedMoto, StartMoto)
}

// SharedPrometheus returns the one server, which scrapes nothing, that the tests
// of this binary share, as SharedKafka does.
func SharedPrometheus(t testing.TB) *PrometheusServer {
	t.Helper()
	return share(t, &sharedPrometheus, StartPrometheus)
}

// SharedAzurite returns the one Azurite, without TLS, that the tests of this
// binary share, as SharedKafka does. Names of queues and containers are the
// test's own.
func SharedAzurite(t testing.TB) *AzuriteServer {
	t.Helper()
	return share(t, &sharedAzurite, StartAzurite)
}

// share returns the server that all tests share, started with default options.
func share[S server, O any](t testing.TB, one *shared[S], start func(context.Context, O) (S, error)) S {
	t.Helper()
	s := one.get(t, func(ctx context.Context) (S, error) { return start(ctx, only[O](nil)) })
	t.Cleanup(func() { show(t, s) })
	return s
}

// TestRunner is *testing.M, or what wraps it.
type TestRunner interface{ Run() int }

// Ending wraps a package's tests so that the shared servers end after them and
// before a leak check:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Ending(m)) }
func Ending(m TestRunner) TestRunner { return ending{m} }

type ending struct{ tests TestRunner }

func (e ending) Run() int {
	code := e.tests.Run()
	var errs []error
	for _, s := range allShared {
		errs = append(errs, s.close())
	}
	if err := errors.Join(errs...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "servers:", err)
		code = 1
	}
	return code
}

// shared is a server that is started at most once.
type shared[S server] struct {
	mu      sync.Mutex
	started bool
	server  S
	err     error
}

// get starts the server unless that was tried before.
func (s *shared[S]) get(t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started = true
		s.server, s.err = start(t.Context())
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

func (s *shared[S]) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started || s.err != nil {
		return nil
	}
	s.started = false
	return s.server.Close()
}

// show logs the end of the server's output when the test has failed.
func show(t testing.TB, s server) {
	if !t.Failed() {
		return
	}
	for _, n := range s.processes() {
		t.Logf("%s (%s):\n%s", n.name, n.LogFile(), n.log.tail(shown))
	}
}

func only[T any](options []T) T {
	var none T
	if len(options) == 0 {
		return none
	}
	return options[0]
}
