package wire_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// flood returns a connection over which messages of 20 bytes come without end, of an
// endpoint that a namespace uses.
func flood(t *testing.T, namespace string) (conn net.Conn, m *wire.Meter, write func(messages int)) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	m = &wire.Meter{}
	m.OwnedBy(func() []string { return []string{namespace} })
	return wire.Count(ours, "queue:1", m, nil, wire.Limits{}), m, func(messages int) {
		go func() {
			message := make([]byte, 20)
			for range messages {
				if _, err := theirs.Write(message); err != nil {
					return
				}
			}
		}()
	}
}

// read reads so many messages and returns how long that takes.
func read(t *testing.T, conn net.Conn, messages int) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := io.CopyN(io.Discard, conn, 20*int64(messages)); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}

// TestFloodsBetweenReadsAreSlow: what comes while nobody reads has a rate, of a
// connection and of all those of a namespace. Beyond it the peer waits, and nobody else.
func TestFloodsBetweenReadsAreSlow(t *testing.T) {
	const many = 50_000 // messages of a flood
	for name, test := range map[string]func(t *testing.T){
		"a connection": func(t *testing.T) {
			conn, _, write := flood(t, "one")
			write(many)
			if took := read(t, conn, many); took < 20*time.Second {
				t.Errorf("it takes %v", took)
			}
			<-time.After(10 * time.Second)
			write(1)
			if took := read(t, conn, 1); took > 0 {
				t.Errorf("a message after a pause takes %v", took)
			}
		},
		"many connections of a namespace": func(t *testing.T) {
			const connections = 50
			began := time.Now()
			for range connections {
				conn, _, write := flood(t, "many")
				write(many / connections)
				read(t, conn, many/connections)
			}
			if took := time.Since(began); took < 5*time.Second {
				t.Errorf("they take %v", took)
			}
			conn, _, write := flood(t, "shop")
			write(1)
			if took := read(t, conn, 1); took > 0 {
				t.Errorf("a message of another namespace takes %v", took)
			}
		},
		"many namespaces": func(t *testing.T) {
			const namespaces = 20
			var conns [namespaces]net.Conn
			for i := range conns {
				var write func(int)
				conns[i], _, write = flood(t, "of"+string(rune('a'+i)))
				write(many)
				read(t, conns[i], 7500) // as much as may come at once
			}
			began := time.Now()
			for range 10 {
				for _, conn := range conns {
					read(t, conn, 1000)
				}
			}
			if took, least := time.Since(began), 5*time.Second; took < least {
				t.Errorf("they take %v, want %v at least", took, least)
			}
		},
		"and then a read": func(t *testing.T) {
			conn, m, write := flood(t, "read")
			write(many)
			read(t, conn, 10_000)
			m.Begin()
			defer m.End()
			if took := read(t, conn, 1000); took > 50*time.Millisecond {
				t.Errorf("a read waits for %v", took)
			}
		},
		"and a deadline": func(t *testing.T) {
			conn, _, write := flood(t, "deadline")
			write(many)
			for range 3 {
				if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			}
		},
		"and an end": func(t *testing.T) {
			conn, _, write := flood(t, "end")
			write(many)
			time.AfterFunc(5*time.Second, func() { conn.Close() })
			began := time.Now()
			if _, err := io.Copy(io.Discard, conn); err == nil || time.Since(began) > 6*time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}
