package wire_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// peer returns a connection and writes to it.
func peer(t *testing.T) (ours net.Conn, send func(n int)) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, func(n int) {
		go func() { _, _ = theirs.Write(make([]byte, n)) }() // ends with the pipe
	}
}

func receive(conn net.Conn, n int) error {
	_, err := io.CopyN(io.Discard, conn, int64(n))
	return err
}

// TestBytesOfARead has a peer send as much as it may for each read, and then
// more.
func TestBytesOfARead(t *testing.T) {
	var m wire.Meter
	raw, send := peer(t)
	conn := wire.Count(raw, "queue:1", &m, nil, wire.Limits{Read: 1000})
	for range 3 {
		m.Begin()
		send(1000)
		if err := receive(conn, 1000); err != nil {
			t.Fatal(err)
		}
		m.End()
	}
	send(5000) // nobody reads: a message to a doorbell
	if err := receive(conn, 5000); err != nil {
		t.Fatal(err)
	}
	m.Begin()
	defer m.End()
	send(1001)
	err := receive(conn, 1001)
	var refused *wire.PeerError
	if !errors.As(err, &refused) || status.Code(err) != codes.Unavailable || err.Error() != "queue:1: the server sent more than 1000 bytes for one read, see --max-read-bytes" {
		t.Fatalf("error = %v", err)
	}
	if _, again := conn.Write([]byte("x")); !errors.As(again, &refused) {
		t.Errorf("a later call: %v", again)
	}
	if err := m.Refusal(); !errors.As(err, &refused) {
		t.Errorf("the meter says %v", err)
	}
}

// TestConnectionsOfAnEndpointShare has two connections and two reads: one bound
// holds for all of them.
func TestConnectionsOfAnEndpointShare(t *testing.T) {
	var m wire.Meter
	m.Begin()
	m.Begin()
	one, send := peer(t)
	other, sendOther := peer(t)
	one, other = wire.Count(one, "a", &m, nil, wire.Limits{Read: 1000}), wire.Count(other, "b", &m, nil, wire.Limits{Read: 1000})
	send(800)
	if err := receive(one, 800); err != nil {
		t.Fatal(err)
	}
	m.End() // takes half of it along
	sendOther(600)
	if err := receive(other, 600); err != nil {
		t.Fatal(err)
	}
	sendOther(1)
	if err := receive(other, 1); err == nil {
		t.Error("more than the bound came")
	}
	m.End()
}

func TestBytesOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m wire.Meter
		raw, send := peer(t)
		conn := wire.Count(raw, "queue:1", &m, nil, wire.Limits{Second: 1000})
		for range 3 {
			send(1000)
			if err := receive(conn, 1000); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
		}
		send(1001)
		if err := receive(conn, 1001); err == nil || !strings.Contains(err.Error(), "more than 1000 bytes in a second") {
			t.Errorf("error = %v", err)
		}
	})
}

// TestGreetings has a server send much before TLS stands, and afterwards.
func TestGreetings(t *testing.T) {
	record := func(kind byte, content ...byte) []byte {
		return append([]byte{kind, 3, 1, byte(len(content) >> 8), byte(len(content))}, content...)
	}
	hello, encrypted := record(22, 1, 0, 0, 0), record(23, 0)
	for name, tt := range map[string]struct {
		said    [][]byte // by the client
		refused bool
	}{
		"no TLS":                          {[][]byte{[]byte("PING\r\n")}, false},
		"before it stands":                {[][]byte{hello}, true},
		"where the client asks once more": {[][]byte{hello, record(20, 1), hello}, true},
		"behind the client's certificate": {[][]byte{hello, record(22, 11, 0, 0, 0)}, true},
		"after it was asked for":          {[][]byte{{0, 0, 0, 8}, hello}, true},
		"after it stands":                 {[][]byte{hello, encrypted}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			conn := wire.Count(ours, "queue:1", &wire.Meter{}, nil, wire.Limits{})
			defer conn.Close()
			go func() { _, _ = io.Copy(io.Discard, theirs) }() // ends with the pipe
			for _, said := range tt.said {
				if _, err := conn.Write(said); err != nil {
					t.Fatal(err)
				}
			}
			go func() { _, _ = theirs.Write(make([]byte, 1<<20)) }() // same
			err := receive(conn, 1<<20)
			if tt.refused != (err != nil) || tt.refused && !strings.Contains(err.Error(), "more than 49152 bytes before TLS stood") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// objector keeps what it sees and refuses one byte.
type objector struct{ seen bytes.Buffer }

var errObjected = errors.New("the server said no")

func (o *objector) Check(p []byte) error {
	o.seen.Write(p)
	if bytes.IndexByte(p, '!') >= 0 {
		return errObjected
	}
	return nil
}

// TestCheckerComesFirst has a checker refuse: the client gets nothing of the
// piece that was refused, and all of those before.
func TestCheckerComesFirst(t *testing.T) {
	var m wire.Meter
	ours, theirs := net.Pipe()
	defer theirs.Close()
	checker := &objector{}
	conn := wire.Check(ours, "queue:1", &m, checker)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for _, piece := range []string{"so ", "far so ", "good!", "never"} {
			_, _ = theirs.Write([]byte(piece))
		}
	}()
	got, err := io.ReadAll(conn)
	if string(got) != "so far so " || !errors.Is(err, errObjected) {
		t.Errorf("read %q, %v", got, err)
	}
	if checker.seen.String() != "so far so good!" {
		t.Errorf("the checker saw %q", checker.seen.String())
	}
	<-written // the connection is closed
}

func BenchmarkRead(b *testing.B) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return c },
		"counted": func(c net.Conn) net.Conn {
			return wire.Count(c, "a", &wire.Meter{}, nil, wire.Limits{Read: 1 << 40, Second: 1 << 40})
		},
	} {
		b.Run(name, func(b *testing.B) {
			conn, p := wrap(endless{}), make([]byte, 4096)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if _, err := conn.Read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// endless sends without end.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error) { return len(p), nil }
