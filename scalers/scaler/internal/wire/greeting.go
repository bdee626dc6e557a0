package wire

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// mostGreeting is what a server may send until TLS stands, in bytes: its
// certificates stay in memory as they came, for as long as the connection. A
// chain takes some thousands of them, a list of authorities some ten thousand.
const mostGreeting = 48 << 10

// greeting looks at what comes between the first message of a client that makes
// TLS and the first that it encrypts for whoever makes use of it. A nil greeting
// looks at nothing.
type greeting struct {
	begun atomic.Bool
	bytes atomic.Int64 // that came since
}

// sent notes what the client writes, which crypto/tls does by whole records.
func (g *greeting) sent(p []byte) {
	const encrypted = 23
	switch {
	case g == nil:
	case isHello(p):
		g.begun.Store(true)
	case len(p) > 0 && p[0] == encrypted:
		g.begun.Store(false)
	}
}

// isHello is true for the first message of TLS, which is a record of its own.
func isHello(p []byte) bool {
	const head, handshake, version, hello = 5, 22, 3, 1
	return len(p) > head && p[0] == handshake && p[1] == version && p[head] == hello &&
		int(binary.BigEndian.Uint16(p[3:])) == len(p)-head
}

// received counts what comes.
func (g *greeting) received(n int) error {
	if g == nil || !g.begun.Load() || g.bytes.Add(int64(n)) <= mostGreeting {
		return nil
	}
	return fmt.Errorf("the server sent more than %d bytes before TLS stood", mostGreeting)
}
