// Package boundtest has servers that send more than anybody needs.
package boundtest

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	runtimemetrics "runtime/metrics"
	"strings"
	"sync"
	"testing"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Allocated is how much memory the process has asked for so far.
func Allocated() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Listen serves each connection to an address of 127.0.0.1 until the test ends,
// which waits for all of them.
func Listen(t testing.TB, serve func(net.Conn)) (address string) {
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
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// Serve answers each connection by itself, and not as the library of a
// server would let it.
func Serve(t testing.TB, answer func(io.Writer)) (address string) {
	t.Helper()
	return "http://" + Listen(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			answer(conn)
		}
	})
}

// Answers are what a server may do, by the part of the answer.
func Answers() map[string]func(io.Writer) {
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

// Read reads an answer to its end.
func Read(ctx context.Context, client *http.Client, address string) error {
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

// Sets are all sets of so many namespaces: as many callers as somebody with those
// would be where several count together as one more.
func Sets(namespaces int) (sets [][]string) {
	for members := 1; members < 1<<namespaces; members++ {
		var of []string
		for i := range namespaces {
			if members&(1<<i) != 0 {
				of = append(of, fmt.Sprint("mallory", i))
			}
		}
		sets = append(sets, of)
	}
	return sets
}
