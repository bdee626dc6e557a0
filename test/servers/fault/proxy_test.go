package fault_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds what is expected to happen; quiet is how long is listened for
// what is not.
const (
	limit = 30 * time.Second
	quiet = 50 * time.Millisecond
)

func TestProxyRelaysAndCounts(t *testing.T) {
	p := proxy(t, echo(t))
	a, b := dial(t, p), dial(t, p)
	ask(t, a, "hello")
	ask(t, b, "you")
	want := fault.Stats{Accepted: 2, Open: 2, ToTarget: 8, ToClient: 8}
	awaitStats(t, p, want)
	a.Close()
	want.Open = 1
	awaitStats(t, p, want)
}

func TestProxyPassesTheEndOfOneDirection(t *testing.T) {
	conn := dial(t, proxy(t, echo(t)))
	send(t, conn, "last words")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "last words" {
		t.Errorf("read %q, %v; want the echo and then the end", got, err)
	}
}

func TestStallAcceptsAndNeverAnswers(t *testing.T) {
	p := proxy(t, echo(t))
	old := dial(t, p)
	ask(t, old, "before")
	p.Stall()
	p.Stall() // a second time changes nothing
	fresh := dial(t, p)
	for _, conn := range []*net.TCPConn{old, fresh} {
		send(t, conn, "anyone?")
		expectSilence(t, conn)
	}
	leaver := dial(t, p)
	awaitStats(t, p, fault.Stats{Accepted: 3, Open: 3, ToTarget: 6, ToClient: 6})
	leaver.Close()
	awaitStats(t, p, fault.Stats{Accepted: 3, Open: 2, ToTarget: 6, ToClient: 6})

	p.Heal()
	for _, conn := range []*net.TCPConn{old, fresh} {
		expect(t, conn, "anyone?")
	}
}

func TestCutEndsConnectionsUntilHealed(t *testing.T) {
	p := proxy(t, echo(t))
	old := dial(t, p)
	ask(t, old, "before")
	p.Cut()
	expectEnd(t, old)
	expectEnd(t, dial(t, p))
	awaitStats(t, p, fault.Stats{Accepted: 2, Open: 0, ToTarget: 6, ToClient: 6})
	p.Heal()
	ask(t, dial(t, p), "after")
}

func TestCutAfterEndsConnectionsInAnAnswer(t *testing.T) {
	p := proxy(t, echo(t))
	old := dial(t, p)
	ask(t, old, "before")
	p.CutAfter(4)
	conn := dial(t, p)
	send(t, conn, "a long answer")
	expect(t, conn, "a lo")
	expectEnd(t, conn)
	ask(t, old, "as before")
	p.Heal()
	ask(t, dial(t, p), "a long answer")
}

func TestCutEndsAStalledConnection(t *testing.T) {
	p := proxy(t, echo(t))
	p.Stall()
	conn := dial(t, p)
	send(t, conn, "anyone?")
	p.Cut()
	expectEnd(t, conn)
}

func TestDelayHoldsDataBack(t *testing.T) {
	p := proxy(t, echo(t))
	conn := dial(t, p)
	const delay = 30 * time.Millisecond
	p.Delay(delay)
	start := time.Now()
	ask(t, conn, "slow")
	// Only the lower bound is certain on a busy machine.
	if took := time.Since(start); took < 2*delay {
		t.Errorf("round trip = %v, want at least %v", took, 2*delay)
	}
	p.Heal()
	ask(t, conn, "quick")
}

func TestDeadTargetEndsTheClient(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	expectEnd(t, dial(t, proxy(t, l.Addr().String())))
}

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func proxy(t *testing.T, target string) *fault.Proxy {
	t.Helper()
	p, err := fault.Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *fault.Proxy) *net.TCPConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	send(t, conn, text)
	expect(t, conn, text)
}

func expect(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	answer := make([]byte, len(text))
	deadline(t, conn, limit)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != text {
		t.Fatalf("read %q, %v; want %q", answer, err, text)
	}
}

func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	deadline(t, conn, quiet)
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
}

func expectEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	deadline(t, conn, limit)
	if n, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want the end of the connection", n, err)
	}
}

func deadline(t *testing.T, conn net.Conn, d time.Duration) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
}

// awaitStats waits until the counters have come to want.
func awaitStats(t *testing.T, p *fault.Proxy, want fault.Stats) {
	t.Helper()
	timeout := time.After(limit)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for p.Stats() != want {
		select {
		case <-timeout:
			t.Fatalf("stats = %+v, want %+v", p.Stats(), want)
		case <-ticker.C:
		}
	}
}
