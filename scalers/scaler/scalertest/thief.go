package scalertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Thief is a host of an attacker, which takes whatever it is sent and answers
// nothing.
type Thief struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	taken []byte
}

// NewThief listens on 127.0.0.1. At the end of the test it must have been sent
// nothing, not even a greeting.
func NewThief(t testing.TB) *Thief {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	thief := &Thief{listener: listener}
	thief.running.Go(thief.serve)
	t.Cleanup(func() {
		listener.Close()
		thief.running.Wait()
		if taken := thief.Taken(); taken != "" {
			t.Errorf("an attacker was sent %q", taken)
		}
	})
	return thief
}

func (t *Thief) serve() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			return
		}
		part := make([]byte, 64<<10)
		n, _ := conn.Read(part)
		_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer authorization=\"https://login.example/t\", resource=\"https://vault.azure.net\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		conn.Close()
		t.mu.Lock()
		t.taken = append(t.taken, part[:n]...)
		t.mu.Unlock()
	}
}

// Addr is its host and port.
func (t *Thief) Addr() string { return t.listener.Addr().String() }

// Port is the port alone.
func (t *Thief) Port() string {
	_, port, _ := net.SplitHostPort(t.Addr())
	return port
}

// Taken is all that it was sent.
func (t *Thief) Taken() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.taken)
}
