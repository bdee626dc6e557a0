package client

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// lines is the checker of a protocol of lines: none is longer than 80 bytes.
type lines struct{ length int }

func (l *lines) Check(p []byte) error {
	for _, b := range p {
		l.length++
		if b == '\n' {
			l.length = 0
		}
		if l.length > 80 {
			return errors.New("the server sent a line of more than 80 bytes")
		}
	}
	return nil
}

func ExampleDialer_Guarded() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "hello\n"+strings.Repeat("x", 1<<20))
	}()

	ctx, release := pool.Opening(context.Background()) // a family has that of its Open
	defer release()
	dialer := DialerOf(ctx).Guarded(Guard{
		ReadBytes: 4 << 20,
		Protocol:  func() Checker { return new(lines) },
	})
	conn, err := dialer.DialContext(ctx, "tcp", server.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	_, err = io.ReadAll(conn)

	var peer *PeerError
	if errors.As(err, &peer) {
		fmt.Println(peer.Reason)
	}
	// Output: the server sent a line of more than 80 bytes
}

func TestFlagsComeBeforeTheFamily(t *testing.T) {
	defer maxReadBytes.Store(0)
	defer maxSecondBytes.Store(0)
	if got, want := (Guard{}).limits(), (wire.Limits{Read: 16 << 20, Second: 128 << 20}); got != want {
		t.Errorf("without flags %+v, want %+v", got, want)
	}
	parse := func(args ...string) error {
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		Flags(flags)
		return flags.Parse(args)
	}
	if err := parse("--max-read-bytes=32Mi", "--max-bytes-per-second=1Gi"); err != nil {
		t.Fatal(err)
	}
	if got, want := (Guard{ReadBytes: 1, SecondBytes: 1}).limits(), (wire.Limits{Read: 32 << 20, Second: 1 << 30}); got != want {
		t.Errorf("with flags %+v, want %+v", got, want)
	}
	for _, bad := range []string{"many", "0", "-1"} {
		if err := parse("--max-read-bytes=" + bad); err == nil {
			t.Errorf("--max-read-bytes=%s is taken", bad)
		}
	}
}
