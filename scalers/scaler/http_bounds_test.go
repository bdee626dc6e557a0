package scaler

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	runtimemetrics "runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// allocated is how much memory the process has asked for so far.
func allocated() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// serveHTTP answers each connection by itself, and not as the library of a
// server would let it.
func serveHTTP(t testing.TB, answer func(io.Writer)) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

// TestAnswersWithoutMeasure has a server send more than anybody needs, in each
// part of an answer, to our own client and to that which libraries of vendors
// are given. The request fails, and takes no more memory than it may.
func TestAnswersWithoutMeasure(t *testing.T) {
	ctx, release := Opening(t.Context())
	defer release()
	own, err := HTTP(ctx, HTTPOptions{MaxAnswer: 1 << 20, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	vendors, err := HTTPForLibrary(ctx, HTTPOptions{MaxAnswer: 1 << 20, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range answersWithoutMeasure() {
		t.Run(name, func(t *testing.T) {
			address := serveHTTP(t, answer) //nolint:contextcheck // it has the test's
			before := allocated()
			if _, err := own.Get(ctx, address); status.Code(err) != codes.Unavailable {
				t.Errorf("our client: %v", err)
			}
			if err := readAll(ctx, vendors, address); err == nil {
				t.Error("a library's client takes it")
			}
			if took := allocated() - before; took > 64<<20 {
				t.Errorf("%d bytes taken", took)
			}
		})
	}
}

// answersWithoutMeasure are what a server may do, by the part of the answer.
func answersWithoutMeasure() map[string]func(io.Writer) {
	const much = 1 << 30
	repeat := func(w io.Writer, text string) {
		text = strings.Repeat(text, 1+(16<<10)/len(text))
		for sent := 0; sent < much; sent += len(text) {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
	}
	return map[string]func(io.Writer){
		"a body": func(w io.Writer) {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", much)
			repeat(w, "x")
		},
		"a body without an end": func(w io.Writer) {
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			repeat(w, "8\r\nxxxxxxxx\r\n")
		},
		"a body that is packed": func(w io.Writer) {
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")
			packed := gzip.NewWriter(w)
			_, _ = io.CopyN(packed, zeros{}, much)
		},
		"headers": func(w io.Writer) {
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\n")
			repeat(w, "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxx\r\n")
		},
		"a header": func(w io.Writer) {
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\nX-Filler: ")
			repeat(w, "x")
		},
		"answers before the answer": func(w io.Writer) { repeat(w, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") },
		"trailers": func(w io.Writer) {
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Filler\r\n\r\n0\r\n")
			repeat(w, "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxx\r\n")
		},
		"the extension of a chunk": func(w io.Writer) {
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			repeat(w, "1;"+strings.Repeat("x", 3000)+"\r\nx\r\n")
		},
	}
}

func readAll(ctx context.Context, client *http.Client, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.ReadAll(response.Body)
	return err
}

// TestAnswerThatDrips has a server send byte after byte: the request ends when
// its time is up.
func TestAnswerThatDrips(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, "x")
			w.(http.Flusher).Flush()
			<-time.After(time.Millisecond)
		}
	}))
	defer server.Close()
	ctx, release := Opening(t.Context())
	defer release()
	client, err := HTTP(ctx, HTTPOptions{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, server.URL); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error = %v", err)
	}
}

// FuzzHTTP asks a server that sends anything.
func FuzzHTTP(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/2.0 200\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
	} {
		f.Add([]byte(answer))
	}
	var mu sync.Mutex
	var said []byte
	address := serveHTTP(f, func(w io.Writer) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(said)
	})
	ctx, release := Opening(f.Context())
	f.Cleanup(release)
	client, err := HTTP(ctx, HTTPOptions{MaxAnswer: 1 << 20, Timeout: 5 * time.Second})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		mu.Lock()
		said = answer
		mu.Unlock()
		before := allocated()
		if _, err := client.Get(t.Context(), address); err != nil && status.Code(err) == codes.Unknown {
			t.Errorf("an error without a code: %v", err)
		}
		if took := allocated() - before; took > 32<<20 {
			t.Errorf("%d bytes taken", took)
		}
	})
}
