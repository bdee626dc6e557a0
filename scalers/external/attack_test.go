package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// ask asks the server at an address about a trigger, as the sampler does.
func ask(t testing.TB, address string, limit time.Duration) error {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	defer release()
	s, err := open(ctx, externalParams{ScalerAddress: address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := s.Specs(ctx); err != nil {
		return err
	}
	_, err = s.Read(ctx)
	return err
}

// serveHTTP2 answers calls as a handler of HTTP/2 does, whatever that makes of
// gRPC.
func serveHTTP2(t testing.TB, handler http.HandlerFunc) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // its error is that of being closed
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return l.Addr().String()
}

// framed is a message as gRPC frames it.
func framed(compressed byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(message))), message...)
}

func zipped(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.CopyN(w, zeros{}, int64(n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestAnswersWithoutMeasure has a server send more than anybody needs, in each
// part of an answer. The reading fails, in few words and without the memory.
func TestAnswersWithoutMeasure(t *testing.T) {
	grpc := func(answer func(w http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/grpc")
			answer(w)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		}
	}
	send := func(w http.ResponseWriter, p []byte) { _, _ = w.Write(p) }
	bomb := framed(1, zipped(t, 20<<20)) // made before anybody waits for it
	tests := map[string]struct {
		server http.HandlerFunc
		code   codes.Code
		says   string
	}{
		"a message that announces 1 GiB": {grpc(func(w http.ResponseWriter) {
			send(w, []byte{0, 0x40, 0, 0, 0})
		}), codes.ResourceExhausted, "larger than max"},
		"a message of 300 KiB": {grpc(func(w http.ResponseWriter) {
			send(w, framed(0, make([]byte, 300<<10)))
		}), codes.ResourceExhausted, "larger than max"},
		"a compressed message of 20 MiB": {grpc(func(w http.ResponseWriter) {
			w.Header().Set("Grpc-Encoding", "gzip")
			send(w, bomb)
		}), codes.ResourceExhausted, "larger than max"},
		"metrics without number": {grpc(func(w http.ResponseWriter) {
			send(w, framed(0, bytes.Repeat([]byte{0x0a, 0}, 100_000)))
		}), codes.Unavailable, "more than the 2000 fields"},
		"more metrics than a trigger may have": {grpc(func(w http.ResponseWriter) {
			send(w, framed(0, bytes.Repeat([]byte{0x0a, 0}, 500)))
		}), codes.Unknown, "500 metrics"}, // the library says what becomes of it

		"a header of 1 MiB": {grpc(func(w http.ResponseWriter) {
			for range 16 {
				w.Header().Add("X-Filler", strings.Repeat("x", 64<<10))
			}
		}), codes.Unavailable, "PROTOCOL_ERROR"},
		"a trailer of 1 MiB": {grpc(func(w http.ResponseWriter) {
			for range 16 {
				w.Header().Add(http.TrailerPrefix+"X-Filler", strings.Repeat("x", 64<<10))
			}
			w.WriteHeader(http.StatusOK)
		}), codes.Unavailable, "PROTOCOL_ERROR"},
		"an error of 50 KiB": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", strings.Repeat("x", 50<<10))
		}, codes.NotFound, "xxx..."},
		"an error of HTTP without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.CopyN(w, zeros{}, 1<<30)
		}, codes.Unavailable, "..."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			address := serveHTTP2(t, tt.server)
			before := scalertest.Allocated()
			err := ask(t, address, 20*time.Second)
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v", err)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if took := scalertest.Allocated() - before; took > 64<<20 {
				t.Errorf("%d bytes taken", took)
			}
		})
	}
}

// Frames of HTTP/2, as a server begins with them.
var (
	settings = []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	goAway   = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	ping     = []byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	reset    = []byte{0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8}
	window   = []byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	// headers are some of an answer that do not end; continued goes on with them.
	headers   = []byte{0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88}
	continued = append([]byte{0, 0x40, 0, 9, 0, 0, 0, 0, 1}, bytes.Repeat([]byte{0x88}, 0x4000)...)
)

// serveBytes answers each connection by itself, and counts them.
func serveBytes(t testing.TB, serve func(net.Conn)) (address string, accepted *atomic.Int64) {
	t.Helper()
	accepted = new(atomic.Int64)
	return scalertest.Listen(t, func(conn net.Conn) {
		accepted.Add(1)
		var read sync.WaitGroup
		defer read.Wait()
		defer conn.Close() // ends it
		read.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		serve(conn)
	}), accepted
}

// TestFloods has a server send frames without end. The reading ends, and
// memory stays.
func TestFloods(t *testing.T) {
	for name, flood := range map[string]struct{ first, again []byte }{
		"pings":          {settings, ping},
		"settings":       {settings, settings},
		"resets":         {settings, reset},
		"window updates": {settings, window},
		"headers":        {append(bytes.Clone(settings), headers...), continued},
		"garbage":        {nil, []byte{0}},
	} {
		t.Run(name, func(t *testing.T) {
			block := bytes.Repeat(flood.again, max(1, 16<<10/len(flood.again)))
			address, _ := serveBytes(t, func(conn net.Conn) {
				_, err := conn.Write(flood.first)
				for sent := 0; err == nil && sent < 1<<30; sent += len(block) {
					_, err = conn.Write(block)
				}
			})
			before := scalertest.Allocated()
			err := ask(t, address, time.Second)
			if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
				t.Errorf("error = %v", err)
			}
			if took := scalertest.Allocated() - before; took > 256<<20 {
				t.Errorf("%d bytes taken", took)
			}
		})
	}
}

// TestServerThatHangsUp says goodbye to each connection as soon as it stands.
// It is not connected to again as fast as that goes.
func TestServerThatHangsUp(t *testing.T) {
	address, accepted := serveBytes(t, func(conn net.Conn) {
		_, _ = conn.Write(settings)
		<-time.After(time.Millisecond) // it stands
		_, _ = conn.Write(goAway)
	})
	ctx, release := scaler.Opening(t.Context())
	defer release()
	source, err := open(ctx, externalParams{ScalerAddress: address})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Specs(ctx); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v", err)
	}
	// It goes on by itself, for the next call.
	const most = 60
	over := time.After(2 * time.Second)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			if n := accepted.Load(); n > most {
				t.Fatalf("connected %d times", n)
			}
		case <-over:
			return
		}
	}
}

// TestStreamsHoldLittle: half a message of each stream waits for the rest, and
// there are streams for every trigger.
func TestStreamsHoldLittle(t *testing.T) {
	begun := make(chan struct{}, 10)
	address := serveHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = w.Write(framed(0, make([]byte, 200<<10))[:190<<10])
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	})
	conn, err := connect(new(client.Dialer), address, insecure.NewCredentials())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	source := &pushSource{externalSource: &externalSource{conn: conn}, listens: conn, rate: &limiter{}, kind: scalerv1.KindScaledObject}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := source.Listen(ctx, func() {}, func() {}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("activity: error = %v", err)
	}
	if err := source.WatchSpecs(ctx, func() {}); err != nil {
		t.Errorf("metrics: error = %v, want them to be asked for", err)
	}
	for range 2 { // both were answered, which the server may know later than its client
		select {
		case <-begun:
		case <-ctx.Done():
			t.Fatal("a stream was not answered")
		}
	}
}
