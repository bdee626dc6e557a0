package outcome_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
)

// TestNothingIsQuoted: what listens at an address that a user chose may be
// something else than was meant, whose words are not the user's to read.
func TestNothingIsQuoted(t *testing.T) {
	for name, answer := range map[string]string{
		"another protocol": "220 hush-hush ESMTP\r\n",
		"a status":         "HTTP/1.1 hush-hush\r\n\r\n",
		"a version":        "HTTP/hush-hush 200 OK\r\n\r\n",
		"a header":         "HTTP/1.1 200 OK\r\nhush-hush\r\n\r\n",
		"a length":         "HTTP/1.1 200 OK\r\nContent-Length: hush-hush\r\n\r\n",
		"an encoding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: hush-hush\r\n\r\n",
		"a location":       "HTTP/1.1 302 Found\r\nLocation: ://hush-hush:x/\r\n\r\n",
		"a scheme":         "HTTP/1.1 302 Found\r\nLocation: hush-hush://x/\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := http.Get("http://" + saying(t, answer)) //nolint:noctx,bodyclose // it fails
			if err == nil {
				t.Fatal("it is an answer")
			}
			if code, text := outcome.Unanswered(err); strings.Contains(text, "hush") || text == "" {
				t.Errorf("%v %q", code, text)
			}
		})
	}
}

// saying is the address of a server that has one answer.
func saying(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte(answer))
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}
