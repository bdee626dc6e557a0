package externalscaler

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// TestPace connects without end to a server that hangs up each time.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pace)
		count := func(d time.Duration) (n int) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			for p.wait(ctx) == nil {
				n++
			}
			return n
		}
		if n := count(10*time.Second - time.Millisecond); n != paceBurst+39 {
			t.Errorf("%d handshakes in ten seconds", n)
		}
		<-time.After(time.Hour)
		if n := count(time.Millisecond); n != paceBurst {
			t.Errorf("%d handshakes at once after a rest", n)
		}
	})
}

func TestMessage(t *testing.T) {
	if got := Message("queue is gone"); got != "queue is gone" {
		t.Errorf("message %q", got)
	}
	got := Message(strings.Repeat("ü", 1<<20) + "x")
	if len(got) > mostMessage+3 || !utf8.ValidString(got) || !strings.HasSuffix(got, "ü...") {
		t.Errorf("message of %d bytes, %q", len(got), got[len(got)-8:])
	}
}
