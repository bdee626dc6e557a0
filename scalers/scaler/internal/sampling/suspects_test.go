package sampling

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
)

// TestSuspectsAreNotConnectedTo has a process that is reading one source end
// without a word, and what begins then keep away from it, and from nothing else:
// by a connection, and by HTTP, whose connections are shared.
func TestSuspectsAreNotConnectedTo(t *testing.T) {
	for name, kind := range map[string]struct {
		serve func(t *testing.T, during func()) string
		open  func(ctx context.Context, address string) (contract.Source, error)
	}{
		"by a connection": {serve: tcpSource, open: func(ctx context.Context, address string) (contract.Source, error) {
			return pool.Shared(ctx, address, func(ctx context.Context) (*flood, error) {
				return &flood{dialer: client.DialerOf(ctx), address: address}, nil
			})
		}},
		"by HTTP": {serve: httpSource, open: func(ctx context.Context, address string) (contract.Source, error) {
			client, err := client.HTTP(ctx, client.HTTPOptions{})
			return &webPage{client, address}, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "endpoints")
			left := filepath.Join(t.TempDir(), "endpoints")
			first := newBook(t, path)
			evil := kind.serve(t, func() { // what the process would leave if it ended now
				if text, err := os.ReadFile(path); err != nil || os.WriteFile(left, text, 0o600) != nil {
					t.Errorf("the file: %v", err)
				}
			})
			good := kind.serve(t, func() {})
			if err := errors.Join(readFrom(t, first, kind.open, good), readFrom(t, first, kind.open, evil)); err != nil {
				t.Fatal(err)
			}
			next := newBook(t, left)
			code, text := failure.Explain(readFrom(t, next, kind.open, evil))
			if code != codes.Unavailable || !strings.Contains(text, "this endpoint was being read when the process ended; it is tried again at ") {
				t.Errorf("the next process: %v %q", code, text)
			}
			if err := readFrom(t, next, kind.open, good); err != nil {
				t.Errorf("another source: %v", err)
			}
		})
	}
}

func newBook(t *testing.T, path string) *suspects.Book {
	t.Helper()
	book, err := suspects.Open(path, time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// readFrom reads a source once, as a process with the book does.
func readFrom(t *testing.T, book *suspects.Book, open func(context.Context, string) (contract.Source, error), address string) error {
	t.Helper()
	l := pool.New(pool.Config{Book: book}).Lease(nil, nil)
	defer l.Release()
	source, err := open(l.Context(t.Context()), address)
	if err != nil {
		return err
	}
	_, err = new(Sampler).askSource(t.Context(), &opened{source: source, lease: l})
	return err
}

// tcpSource sends a byte to whoever connects, and calls during before it does.
func tcpSource(t *testing.T, during func()) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			during()
			_, _ = conn.Write([]byte("x"))
			conn.Close()
		}
	}()
	return l.Addr().String()
}

func httpSource(t *testing.T, during func()) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		during()
		_, _ = io.WriteString(w, "x")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// webPage is a source over HTTP.
type webPage struct {
	client  *client.HTTPClient
	address string
}

func (p *webPage) Read(ctx context.Context) ([]contract.Reading, error) {
	_, err := p.client.Get(ctx, p.address)
	return contract.One(0), err
}
