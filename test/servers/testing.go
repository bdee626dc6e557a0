package servers

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// shown is how much of a server's log a failed test shows.
const shown = 16 << 10

// Kafka starts a cluster that ends with the test. It takes at most one set of
// options.
func Kafka(t testing.TB, options ...KafkaOptions) *KafkaServer {
	t.Helper()
	k, err := StartKafka(t.Context(), only(options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		show(t, k.Nodes...)
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// RabbitMQ starts a node that ends with the test. It takes at most one set of
// options.
func RabbitMQ(t testing.TB, options ...RabbitMQOptions) *RabbitMQServer {
	t.Helper()
	r, err := StartRabbitMQ(t.Context(), only(options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		show(t, r.Node)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Moto starts a server that ends with the test. It takes at most one set of
// options.
func Moto(t testing.TB, options ...MotoOptions) *MotoServer {
	t.Helper()
	m, err := StartMoto(t.Context(), only(options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		show(t, m.Node)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// The servers that all tests of a binary share: started by the first that
// asks, ended by Ending.
var (
	sharedKafka    shared[*KafkaServer]
	sharedRabbitMQ shared[*RabbitMQServer]
	sharedMoto     shared[*MotoServer]
)

// SharedKafka returns the one broker, with default options, that the tests of
// this binary share. The package's TestMain ends it, see Ending. Topics and
// groups are the test's own; whoever breaks the broker starts its own instead.
func SharedKafka(t testing.TB) *KafkaServer {
	t.Helper()
	k := sharedKafka.get(t, func(ctx context.Context) (*KafkaServer, error) { return StartKafka(ctx, KafkaOptions{}) })
	t.Cleanup(func() { show(t, k.Nodes...) })
	return k
}

// SharedRabbitMQ returns the one node, with default options, that the tests of
// this binary share, as SharedKafka does.
func SharedRabbitMQ(t testing.TB) *RabbitMQServer {
	t.Helper()
	r := sharedRabbitMQ.get(t, func(ctx context.Context) (*RabbitMQServer, error) {
		return StartRabbitMQ(ctx, RabbitMQOptions{})
	})
	t.Cleanup(func() { show(t, r.Node) })
	return r
}

// SharedMoto returns the one Moto, open to everybody, that the tests of this
// binary share, as SharedKafka does. Names of queues and tables are the test's
// own.
func SharedMoto(t testing.TB) *MotoServer {
	t.Helper()
	m := sharedMoto.get(t, func(ctx context.Context) (*MotoServer, error) { return StartMoto(ctx, MotoOptions{}) })
	t.Cleanup(func() { show(t, m.Node) })
	return m
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
	if err := errors.Join(sharedKafka.close(), sharedRabbitMQ.close(), sharedMoto.close()); err != nil && code == 0 {
		code = 1
	}
	return code
}

// shared is a server that is started at most once.
type shared[S interface{ Close() error }] struct {
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

// show logs the end of the nodes' output when the test has failed.
func show(t testing.TB, nodes ...*Node) {
	if !t.Failed() {
		return
	}
	for _, n := range nodes {
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
