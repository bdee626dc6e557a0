package main

import (
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// FuzzServer asks a server that sends any frames of HTTP/2. Each question ends.
func FuzzServer(f *testing.F) {
	for _, frames := range [][]byte{
		{}, settings, goAway, ping, reset, window, headers, continued[:100],
		{0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0x7f, 0xff, 0xff, 0xff}, // a message's length
		{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1},                   // a frame's length
		{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff},
	} {
		f.Add(frames)
	}
	var mu sync.Mutex
	var said []byte
	address, _ := serveBytes(f, func(conn net.Conn) {
		mu.Lock()
		frames := append(append([]byte(nil), settings...), said...)
		mu.Unlock()
		_, _ = conn.Write(frames)
		<-time.After(10 * time.Millisecond) // for what answers them
	})
	f.Fuzz(func(t *testing.T, frames []byte) {
		mu.Lock()
		said = frames
		mu.Unlock()
		before := scalertest.Allocated()
		if err := ask(t, address, 300*time.Millisecond); status.Code(err) == codes.OK {
			t.Errorf("an answer: %v", err)
		}
		if took := scalertest.Allocated() - before; took > 64<<20 {
			t.Errorf("%d bytes taken", took)
		}
	})
}
