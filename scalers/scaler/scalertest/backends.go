package scalertest

import (
	"net"
	"sync"
	"testing"

	"github.com/sluice-autoscaler/sluice/outbound"
)

// Beside is for TestMain: event sources may be on this machine, where those of
// tests are. It hands on what it is given.
func Beside[M any](m M) M {
	outbound.Allow(outbound.Loopback...)
	return m
}

// DeadAddress is a "host:port" that refuses connections.
func DeadAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// StalledAddress is a "host:port" that accepts connections, reads what comes
// and never answers, until the test ends.
func StalledAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			running.Go(func() { drain(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// drain reads until the peer, or the test, closes.
func drain(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 4096)
	for {
		if _, err := c.Read(buffer); err != nil {
			return
		}
	}
}
