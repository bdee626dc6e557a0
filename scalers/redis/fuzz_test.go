package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// FuzzServers has a server that lies: its answers are any bytes, in pieces of
// any size, and end, stop or go on without end. Whatever they are, the client
// makes no more of them than a read may take, and the read ends.
//
// how chooses the kind of server and what follows the answers; each answer ends
// with a zero byte, and the last is that to all further commands.
func FuzzServers(f *testing.F) {
	for i, text := range []string{
		":7\r\n", "$-1\r\n", "-NOSCRIPT no\r\n\x00:7\r\n", "*4\r\n:3\r\n$3\r\n1-0\r\n$3\r\n2-0\r\n*0\r\n", "-NOGROUP no\r\n\x00:7\r\n",
		"*1\r\n*4\r\n$4\r\nname\r\n$7\r\nworkers\r\n$3\r\nlag\r\n:1\r\n", "-MOVED 1 127.0.0.1:1\r\n", "-ASK 1 :1\r\n", "-MOVED \r\n",
		"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n\x00:7\r\n", "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n\x00:7\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n\x00:1\r\n\x00+OK\r\n\x00:0\r\n",
		"*9223372036854775807\r\n", "$9223372036854775807\r\n", "*65536\r\n", "$524288\r\n", "*0\r\n", "%1\r\n+a\r\n:1\r\n", "|1\r\n+a\r\n:1\r\n:2\r\n",
		"~1\r\n:1\r\n", ">2\r\n+a\r\n:1\r\n", "=7\r\ntxt:abc\r\n", "!3\r\nERR\r\n", "(123\r\n", ",1.5\r\n", "#t\r\n", "_\r\n", "*?\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n", "HTTP/1.1 400\r\n",
	} {
		for how := range byte(8) {
			f.Add(how+8*byte(i%3), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, how byte, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		answers := bytes.Split(text, []byte{0})
		address := scalertest.Listen(t, func(c net.Conn) { lie(c, how/8%3, answers) })
		before := scalertest.Allocated()
		askLiar(t, how%8, address)
		// What a read may take, times what it becomes: an element of 4 bytes is
		// a number of 8 in an interface of 16.
		if more := scalertest.Allocated() - before; more > 12*mostRead+1<<24 {
			t.Errorf("%d bytes were allocated", more)
		}
	})
}

// lie answers commands until the peer has enough.
func lie(c net.Conn, end byte, answers [][]byte) {
	for command := make([]byte, 64<<10); ; {
		if _, err := c.Read(command); err != nil {
			return
		}
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		} else if end == 1 && len(answer) > 0 {
			endless := bytes.Repeat(answer, 1+(64<<10)/len(answer))
			for sent := 0; sent < 4*mostRead; sent += len(endless) {
				if _, err := c.Write(endless); err != nil {
					return
				}
			}
		}
		half := len(answer) / 2
		for _, piece := range [][]byte{answer[:half], answer[half:]} {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
		if end == 2 && len(answers) == 1 {
			return
		}
	}
}

// askLiar reads, or listens to, what is said to be a server of each kind. All
// its addresses lead to one place.
func askLiar(t *testing.T, kind byte, address string) {
	opening, release := scaler.Opening(t.Context())
	defer release()
	life, stop := context.WithCancel(opening)
	dial := dialer(client.DialerOf(opening), nil)
	options := connectionParams{}.options([]string{"liar:1"}, until(life, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, address)
	}))
	options.MasterName = "jobs"
	s, err := newServer(opening, []mode{single, cluster, sentinel, single}[kind%4], options, stop)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var sources []scaler.Source
	for _, first := range []func() *step{
		func() *step { return s.length("jobs") },
		func() *step { return pending("jobs", "workers") },
		func() *step { return s.lag("jobs", "workers") },
	} {
		sources = append(sources, &source{server: s, what: "key jobs", key: "jobs", first: first})
	}
	ctx, cancel := context.WithTimeout(opening, 100*time.Millisecond)
	defer cancel()
	if kind == 7 {
		err := sources[0].(scaler.Ringer).Listen(ctx, func() {}, func() {})
		if err == nil {
			t.Error("listening ended without an error")
		}
		return
	}
	for _, r := range scaler.ReadTogether(ctx, s, sources...) {
		if r.Err == nil && len(r.Readings) != 1 {
			t.Errorf("readings = %v", r.Readings)
		}
		if r.Err != nil && strings.Contains(r.Err.Error(), "defect") {
			t.Errorf("error = %v", r.Err)
		}
	}
}
