package inbound

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/credentials"
)

// patient waits for what the other side has to say.
type patient struct {
	credentials.TransportCredentials
}

func (patient) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	_, err := io.ReadFull(conn, make([]byte, 1))
	return conn, nil, err
}

// Who says nothing of who it is holds a connection for a while, and few of them;
// somebody at another address is recognised all the same, and counts no more.
func TestHalfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handshakes(patient{credentials.NewTLS(nil)})
		shaken := make(chan error, 1000)
		come := func(address string) net.Conn {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { theirs.Close() })
			go func() {
				conn, _, err := h.ServerHandshake(from{ours, address})
				if err != nil {
					ours.Close()
				} else {
					t.Cleanup(func() { conn.Close() })
				}
				shaken <- err
			}()
			synctest.Wait()
			return theirs
		}
		for i := range mostConnections {
			come(fmt.Sprintf("10.0.0.%d", i%(mostConnections/mostConnectionsOfOne)))
		}
		if len(shaken) != 0 {
			t.Fatalf("%d are refused while there is room", len(shaken))
		}
		come("10.0.0.0")
		if err := <-shaken; !errors.Is(err, errCrowded) {
			t.Errorf("one more of an address: %v", err)
		}
		for i := range 3 * mostConnectionsOfOne { // one after the other, and all of them stay
			controller := come("10.0.1.1")
			if i == 0 && <-shaken == nil { // whose place it has
				t.Fatal("nobody made way for it")
			}
			fmt.Fprint(controller, "x")
			if err := <-shaken; err != nil {
				t.Fatalf("the controller is refused: %v", err)
			}
		}
		// Nobody has for ever.
		for range mostConnections - 1 {
			if err := <-shaken; err == nil {
				t.Error("somebody was recognised that had said nothing")
			}
		}
		h.(*handshakes).porch.mu.Lock()
		defer h.(*handshakes).porch.mu.Unlock()
		if n := h.(*handshakes).porch.count; n != 0 {
			t.Errorf("%d are counted at the end", n)
		}
	})
}
