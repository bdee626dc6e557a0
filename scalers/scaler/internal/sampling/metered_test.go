package sampling

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// TestReadsAreMetered reads a source whose server sends too much, by itself and
// in a batch: the reading fails in words that name server and limit, and the
// next one is not charged for it.
func TestReadsAreMetered(t *testing.T) {
	for _, batched := range []bool{false, true} {
		t.Run(fmt.Sprint("batched ", batched), func(t *testing.T) {
			l := pool.New(pool.Config{}).Lease(nil, nil)
			defer l.Release()
			f, err := pool.Shared(l.Context(t.Context()), "flood", func(ctx context.Context) (*flood, error) {
				return &flood{dialer: client.DialerOf(ctx).Guarded(client.Guard{ReadBytes: 1000})}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			o := &opened{source: f, lease: l}
			read := func(n int) error {
				f.address = serveBytes(t, n)
				if batched {
					return askBatch(t.Context(), f, []*member{{o: o}, {o: o}}, func(int, contract.Result) {})
				}
				_, err := new(Sampler).askSource(t.Context(), o)
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
	dialer  *client.Dialer
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
