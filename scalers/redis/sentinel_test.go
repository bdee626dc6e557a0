package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSentinelsThatStallAreFew: each that is asked takes a client with its
// buffers, and a trigger may name many.
func TestSentinelsThatStallAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked atomic.Int32
		var addresses []string
		for i := range 100 {
			addresses = append(addresses, fmt.Sprintf("s%d:1", i))
		}
		// With others than those of every client the library would look names up,
		// and leave the process a resolver that belongs to the bubble.
		options := connectionParams{}.options(addresses, func(ctx context.Context, _, address string) (net.Conn, error) {
			if address == "s0:1" {
				return nil, errors.New("refused")
			}
			asked.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		options.MasterName = "m"
		done := make(chan struct{})
		go func() {
			_, _ = newSentinels(options).ask(ctx)
			close(done)
		}()
		<-time.After(2 * headStart) // of a clock that goes on when all wait
		synctest.Wait()
		if n := asked.Load(); n == 0 || n > sentinelsAtOnce {
			t.Errorf("%d are asked at once", n)
		}
		cancel()
		<-done
	})
}
