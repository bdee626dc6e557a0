package outbound

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func send(t *testing.T, s *Sender, uri string) (int, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, uri, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(request)
}

func TestSenderDoesNotReachTheMachineItself(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0"} {
		var refused AddressError
		if _, err := send(t, NewSender(), "http://"+net.JoinHostPort(host, port)); !errors.As(err, &refused) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestAnswersAreBoundedAndNotQuoted has a receiver for each way to be harmful.
func TestAnswersAreBoundedAndNotQuoted(t *testing.T) {
	Allow(Loopback...)
	defer Allow()
	s := NewSender()
	defer s.Close()
	for name, tt := range map[string]struct {
		answer func(net.Conn)
		status int
	}{
		"body without end":        {flood("HTTP/1.1 500 Oops\r\n\r\n"), 500},
		"header without end":      {flood("HTTP/1.1 200 OK\r\nX: "), 0},
		"informed without end":    {flood("HTTP/1.1 103 Early Hints\r\nX: "), 0},
		"status line without end": {flood("HTTP/1.1 200 "), 0},
		"another protocol":        {say("-ERR secret\r\n"), 0},
		"redirect":                {say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), 302},
		"redirect with the body":  {say("HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), 307},
	} {
		t.Run(name, func(t *testing.T) {
			uri, took := listen(t, tt.answer)
			status, err := send(t, s, uri)
			if status != tt.status || (err == nil) != (tt.status > 0) || err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("status %d, error %v", status, err)
			}
			<-took // the flood ends when nobody reads it
		})
	}
}

// listen answers one request; took is closed when that ended.
func listen(t *testing.T, answer func(net.Conn)) (uri string, took chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	took = make(chan struct{})
	go func() {
		defer close(took)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		answer(conn)
	}()
	return "http://" + listener.Addr().String(), took
}

func say(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = conn.Write([]byte(text)) }
}

func flood(start string) func(net.Conn) {
	return func(conn net.Conn) {
		_, err := conn.Write([]byte(start))
		for block := bytes.Repeat([]byte("secret"), 10_000); err == nil; {
			_, err = conn.Write(block)
		}
	}
}

// TestAnswersShareNoConnection: what waits to be read is not to be in the memory
// of the process, nor in the way of other answers.
func TestAnswersShareNoConnection(t *testing.T) {
	Allow(Loopback...)
	defer Allow()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Spoken", r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	pool := NewTransport(Dial, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // of a test
	pool.Proxy = nil
	defer pool.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := pool.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if spoken := answer.Header.Get("Spoken"); spoken != "HTTP/1.1" {
		t.Errorf("%s is spoken", spoken)
	}
}
