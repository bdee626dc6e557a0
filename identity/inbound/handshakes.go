package inbound

import (
	"errors"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// handshakeTime is how long somebody has to say who it is.
const handshakeTime = 10 * time.Second

// Handshakes bounds how many connections may be open of which nobody knows yet
// who they are from, as Listener does for those of which nobody ever knows. Who
// was recognised counts no more.
func Handshakes(of credentials.TransportCredentials) credentials.TransportCredentials {
	return &handshakes{of, newPorch(nil, mostConnections, mostConnectionsOfOne)}
}

type handshakes struct {
	credentials.TransportCredentials // answers everything but ServerHandshake
	porch                            *Porch
}

var errCrowded = errors.New("too many connections of which nobody says who they are from")

// ServerHandshake implements credentials.TransportCredentials.
func (h *handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	v := h.porch.enter(conn)
	if v == nil {
		return nil, nil, errCrowded
	}
	defer v.leave()
	late := time.AfterFunc(handshakeTime, func() { conn.Close() })
	defer late.Stop()
	return h.TransportCredentials.ServerHandshake(conn)
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{h.TransportCredentials.Clone(), h.porch}
}
