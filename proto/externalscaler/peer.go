package externalscaler

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// What a server may send over one connection. Whoever writes a server can send
// anything.
const (
	// mostHeader is the most of the headers, and of the trailers, of an answer:
	// a status with its message and details is in there.
	mostHeader = 64 << 10
	// mostMessage is the most of a server's error that is told to anybody.
	mostMessage = 1 << 10
	// mostBuffered is the most of a stream that waits to be read, and of all
	// streams of a connection twice that.
	mostBuffered = 256 << 10
)

// Largest is what one message may be, whether it comes compressed or not.
type Largest struct {
	Bytes int
	// Elements are those of Codec.
	Elements int
}

// Bounded are the options of a connection that bound what its server can do: no
// answer is larger than largest, and a server that hangs up as soon as it is
// connected to is not connected to again and again. server is what errors call
// it, security is how the connection is protected.
func Bounded(server string, largest Largest, security credentials.TransportCredentials) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(paced{security, new(pace)}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(largest.Bytes),
			grpc.ForceCodecV2(Codec(server, largest.Elements)),
		),
		grpc.WithMaxHeaderListSize(mostHeader),
		grpc.WithStaticStreamWindowSize(mostBuffered),
		grpc.WithStaticConnWindowSize(2 * mostBuffered),
	}
}

// Message is what a server says of an error, cut off where it is long.
func Message(said string) string {
	if len(said) <= mostMessage {
		return said
	}
	return strings.ToValidUTF8(said[:mostMessage], "") + "..."
}

// paced are credentials that shake hands so often and no more. gRPC pauses
// after connections that failed, but not after those that came about and ended
// at once.
type paced struct {
	credentials.TransportCredentials
	pace *pace
}

// ClientHandshake implements credentials.TransportCredentials.
func (p paced) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := p.pace.wait(ctx); err != nil {
		return nil, nil, err
	}
	return p.TransportCredentials.ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (p paced) Clone() credentials.TransportCredentials {
	return paced{p.TransportCredentials.Clone(), p.pace}
}

// The pace of connecting: as many at once as a name may have addresses, and
// then one each paceGap.
const (
	paceBurst = 32
	paceGap   = 250 * time.Millisecond
)

// pace is the time of the next handshake but for the burst.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// wait returns when it is somebody's turn.
func (p *pace) wait(ctx context.Context) error {
	turn := time.NewTimer(time.Until(p.turn(time.Now())))
	defer turn.Stop()
	select {
	case <-turn.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pace) turn(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if earliest := now.Add(-paceBurst * paceGap); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(paceGap)
	return p.next
}
