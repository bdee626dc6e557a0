package scaler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// lines is the checker of a protocol of lines: none is longer than 80 bytes.
type lines struct{ length int }

func (l *lines) Check(p []byte) error {
	for _, b := range p {
		l.length++
		if b == '\n' {
			l.length = 0
		}
		if l.length > 80 {
			return errors.New("the server sent a line of more than 80 bytes")
		}
	}
	return nil
}

func ExampleDialer_Guarded() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "hello\n"+strings.Repeat("x", 1<<20))
	}()

	ctx, release := Opening(context.Background()) // a family has that of its Open
	defer release()
	dialer := DialerOf(ctx).Guarded(Guard{
		ReadBytes: 4 << 20,
		Protocol:  func() Checker { return new(lines) },
	})
	conn, err := dialer.DialContext(ctx, "tcp", server.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	_, err = io.ReadAll(conn)

	var peer *PeerError
	if errors.As(err, &peer) {
		fmt.Println(peer.Reason)
	}
	// Output: the server sent a line of more than 80 bytes
}

// TestReadsAreMetered reads a source whose server sends too much, by itself and
// in a batch: the reading fails in words that name server and limit, and the
// next one is not charged for it.
func TestReadsAreMetered(t *testing.T) {
	for _, batched := range []bool{false, true} {
		t.Run(fmt.Sprint("batched ", batched), func(t *testing.T) {
			l := newPool(poolConfig{}).lease(nil)
			defer l.release()
			f, err := Shared(l.context(t.Context()), "flood", func(ctx context.Context) (*flood, error) {
				return &flood{dialer: DialerOf(ctx).Guarded(Guard{ReadBytes: 1000})}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			o := &opened{source: f, lease: l, meters: l.meters()}
			read := func(n int) error {
				f.address = serveBytes(t, n)
				if batched {
					return askBatch(t.Context(), f, []*member{{o: o}, {o: o}}, func(int, contract.Result) {})
				}
				_, err := new(sampler).askSource(t.Context(), o)
				return err
			}
			for range 3 {
				if err := read(900); err != nil {
					t.Fatal(err)
				}
			}
			code, text := failure.Explain(read(1001))
			if code != codes.Unavailable || text != f.address+": the server sent more than 1000 bytes for one read, see --max-read-bytes" {
				t.Errorf("error = %v %q", code, text)
			}
			if err := read(900); err != nil {
				t.Errorf("the read after it: %v", err)
			}
		})
	}
}

// serveBytes sends n bytes to whoever connects first.
func serveBytes(t *testing.T, n int) (address string) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { server.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write(make([]byte, n))
	}()
	return server.Addr().String()
}

// flood takes all that a server sends.
type flood struct {
	dialer  *Dialer
	address string
}

func (f *flood) Read(ctx context.Context) ([]contract.Reading, error) {
	conn, err := f.dialer.DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	n, err := io.Copy(io.Discard, conn)
	return contract.One(float64(n)), err
}

func (f *flood) ReadBatch(ctx context.Context, _ []contract.Source, _ func(int, contract.Result)) error {
	_, err := f.Read(ctx)
	return err
}

func TestFlagsComeBeforeTheFamily(t *testing.T) {
	defer maxReadBytes.Store(0)
	defer maxSecondBytes.Store(0)
	if got, want := (Guard{}).limits(), (wire.Limits{Read: 16 << 20, Second: 128 << 20}); got != want {
		t.Errorf("without flags %+v, want %+v", got, want)
	}
	getenv := func(string) string { return "" }
	if _, err := parseSettings("test", []string{"--plaintext", "--max-read-bytes=32Mi", "--max-bytes-per-second=1Gi"}, getenv, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got, want := (Guard{ReadBytes: 1, SecondBytes: 1}).limits(), (wire.Limits{Read: 32 << 20, Second: 1 << 30}); got != want {
		t.Errorf("with flags %+v, want %+v", got, want)
	}
	for _, bad := range []string{"many", "0", "-1"} {
		if _, err := parseSettings("test", []string{"--plaintext", "--max-read-bytes=" + bad}, getenv, io.Discard); err == nil {
			t.Errorf("--max-read-bytes=%s is taken", bad)
		}
	}
}
