package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAnswersWithoutMeasure has a server send more than anybody needs, in each
// part of an answer, to our own client and to that which libraries of vendors
// are given. The request fails, and takes no more memory than it may.
func TestAnswersWithoutMeasure(t *testing.T) {
	ctx, release := pool.Opening(t.Context())
	defer release()
	own, err := HTTP(ctx, HTTPOptions{MaxAnswer: 1 << 20, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	vendors, err := HTTPForLibrary(ctx, HTTPOptions{MaxAnswer: 1 << 20, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range boundtest.Answers() {
		t.Run(name, func(t *testing.T) {
			address := boundtest.Serve(t, answer) //nolint:contextcheck // it has the test's
			before := boundtest.Allocated()
			if _, err := own.Get(ctx, address); status.Code(err) != codes.Unavailable {
				t.Errorf("our client: %v", err)
			}
			if err := boundtest.Read(ctx, vendors, address); err == nil {
				t.Error("a library's client takes it")
			}
			if took := boundtest.Allocated() - before; took > 64<<20 {
				t.Errorf("%d bytes taken", took)
			}
		})
	}
}

// TestWhatLibrariesMakeOfAnswersIsBounded has a server send more values than a library
// is to make something of, in fewer bytes than an answer may have.
func TestWhatLibrariesMakeOfAnswersIsBounded(t *testing.T) {
	const most = 1000
	for name, tt := range map[string]struct {
		text string
		want codes.Code
	}{
		"as many as there may be": {"[" + strings.Repeat("1,", most-1) + "1]", codes.OK},
		"one more":                {"[" + strings.Repeat("1,", most) + "1]", codes.Unavailable},
		"empty objects":           {"[" + strings.Repeat("{},", most) + "{}]", codes.Unavailable},
		"lists in lists":          {strings.Repeat("[", most+1), codes.Unavailable},
		"a text":                  {`"` + strings.Repeat("x", 100*most) + `"`, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.text) }))
			defer server.Close()
			ctx, release := pool.Opening(t.Context())
			defer release()
			vendors, err := HTTPForLibrary(ctx, HTTPOptions{MaxAnswer: 1 << 20, MaxValues: most})
			if err != nil {
				t.Fatal(err)
			}
			err = boundtest.Read(ctx, vendors, server.URL)
			var said interface{ GRPCStatus() *status.Status }
			switch {
			case tt.want == codes.OK && err != nil:
				t.Error(err)
			case tt.want != codes.OK && (!errors.Is(err, outbound.ErrTooLarge) || !errors.As(err, &said) || said.GRPCStatus().Code() != tt.want):
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

// TestLibrariesUnderstandInTurn: what a library makes of a large answer it makes in
// a turn, which is over when it closes the answer, and at the latest with the request.
func TestLibrariesUnderstandInTurn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat(" ", smallAnswer+1))
	}))
	defer server.Close()
	ctx, release := pool.Opening(t.Context())
	defer release()
	vendors, err := HTTPForLibrary(ctx, HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context) *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := vendors.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := response.Body.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return response
	}
	_, ofOne := computing.Places()
	free := func(ctx context.Context) bool { // whether all places of this namespace are free
		turns := make([]Turn, ofOne)
		ok := true
		for i := range turns {
			ok = ok && turns[i].Work(ctx) == nil
			defer turns[i].Rest()
		}
		return ok
	}
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}

	one := ask(ctx)
	if free(soon()) {
		t.Error("an answer is read out of turn")
	}
	one.Body.Close()
	if !free(ctx) {
		t.Error("a closed answer has its turn still")
	}
	ending, end := context.WithCancel(ctx)
	two := ask(ending)
	end()
	if !free(ctx) {
		t.Error("the answer of a request that ended has its turn still")
	}
	two.Body.Close()
	two.Body.Close()
	if !free(ctx) {
		t.Error("a turn was lost")
	}
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
	ctx, release := pool.Opening(t.Context())
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
	address := boundtest.Serve(f, func(w io.Writer) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(said)
	})
	ctx, release := pool.Opening(f.Context())
	f.Cleanup(release)
	client, err := HTTP(ctx, HTTPOptions{MaxAnswer: 1 << 20, Timeout: 5 * time.Second})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		mu.Lock()
		said = answer
		mu.Unlock()
		before := boundtest.Allocated()
		if _, err := client.Get(t.Context(), address); err != nil && status.Code(err) == codes.Unknown {
			t.Errorf("an error without a code: %v", err)
		}
		if took := boundtest.Allocated() - before; took > 32<<20 {
			t.Errorf("%d bytes taken", took)
		}
	})
}
