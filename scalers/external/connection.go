package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// callLimit bounds one call whose caller would wait longer.
	callLimit = 15 * time.Second
	// reconnectWithin bounds the pause before a server that was away is
	// connected to again. gRPC's own two minutes would outlast many polls.
	reconnectWithin = 10 * time.Second
	// mostAnswer is the most of one answer, in bytes: a hundred metrics with the
	// longest names are half of it.
	mostAnswer = 256 << 10
)

// connection is what all triggers with the same address and TLS material
// share. It connects when it is first used.
type connection struct {
	externalscaler.ExternalScalerClient

	address string
	conn    *grpc.ClientConn
}

// share returns the one connection for the address and the TLS material.
func (p externalParams) share(ctx context.Context) (*connection, error) {
	return p.connection(ctx, "")
}

// shareStreams returns the one for the streams of a namespace. They are many and
// last, and a server takes so many over a connection: they would leave no room for
// polls, and those of one namespace none for another's.
func (p externalParams) shareStreams(ctx context.Context) (*connection, error) {
	return p.connection(ctx, "streams of "+p.Namespace)
}

func (p externalParams) connection(ctx context.Context, of string) (*connection, error) {
	// Another trigger's identity must not be used.
	return client.Shared(ctx, []any{of, p.ScalerAddress, p.wantsTLS(), p.UnsafeSSL, p.material()}, func(ctx context.Context) (*connection, error) {
		security, err := p.transport()
		if err != nil {
			return nil, err
		}
		return connect(client.DialerOf(ctx), p.ScalerAddress, security, fewAddresses(ctx))
	})
}

// connect makes a connection that nobody uses yet.
func connect(dialer *client.Dialer, address string, security credentials.TransportCredentials, more ...grpc.DialOption) (*connection, error) {
	host, port, err := outbound.HostPort(address)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "scalerAddress: %v", err)
	}
	if err := dialer.Check(host); err != nil {
		return nil, fmt.Errorf("scalerAddress: %w", err)
	}
	// gRPC looks the name up itself, so that all its addresses are used, and
	// has each dialled. It reads nothing else into such a host and port.
	//dials:through grpc.WithContextDialer
	conn, err := grpc.NewClient("dns:///"+net.JoinHostPort(host, port), append(options(address, dialer, security), more...)...)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "scalerAddress: %q: %v", address, err)
	}
	return &connection{externalscaler.NewExternalScalerClient(conn), address, conn}, nil
}

func options(address string, dialer *client.Dialer, security credentials.TransportCredentials) []grpc.DialOption {
	largest := externalscaler.Largest{Bytes: mostAnswer, Elements: externalscaler.FewElements}
	return append(externalscaler.Bounded(address, largest, security),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialResolved(ctx, "tcp", address)
		}),
		// All addresses of a name are used in turn. What a name server says
		// about the service otherwise does not count.
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithDisableServiceConfig(),
		// Servers end connections that ping more often than every 5 minutes,
		// unless they were told otherwise. What was sent and is not
		// acknowledged within Timeout ends the connection much sooner.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectWithin},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithUserAgent("sluice-scaler-external"),
	)
}

// connectionCost is that of a connection over HTTP/2, in bytes.
const connectionCost = 64 << 10

// Cost implements client.Costly.
func (*connection) Cost() int { return connectionCost }

// Close ends the connection; streams on it end too.
func (c *connection) Close() error { return c.conn.Close() }

// limited bounds one call; the caller's own deadline, when sooner, stands.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callLimit)
}

// failed says which call of which server failed, and how.
func (c *connection) failed(call string, err error) error {
	answer := status.Convert(err)
	if late(answer) {
		return scaler.Errorf(codes.DeadlineExceeded, "server %s: %s: no answer in time", c.address, call)
	}
	return scaler.Errorf(codeOf(answer.Code()), "server %s: %s: %s: %s", c.address, call, answer.Code(), externalscaler.Message(answer.Message()))
}

// late reports whether our own deadline has passed, in the words of our gRPC
// library or in those for a server that knew the deadline and hung up. What a
// server says itself of waiting in vain is passed on.
func late(answer *status.Status) bool {
	return answer.Code() == codes.DeadlineExceeded &&
		(answer.Message() == context.DeadlineExceeded.Error() || strings.HasPrefix(answer.Message(), "stream terminated by RST_STREAM"))
}

// wrong says what is wrong with an answer that came.
func (c *connection) wrong(call string, err error) error {
	return fmt.Errorf("server %s: %s: %w", c.address, call, err)
}

// streamEnded says which stream of which server ended, and how. A server that
// does not have it refuses to ring.
func (c *connection) streamEnded(call string, err error) error {
	switch {
	case status.Code(err) == codes.Unimplemented:
		return fmt.Errorf("%w: server %s does not stream", scaler.ErrDoorbellRefused, c.address)
	case errors.Is(err, io.EOF):
		return c.wrong(call, fmt.Errorf("the server ended the stream: %w", err))
	case errors.Is(err, errFlood), errors.Is(err, errNotOpened):
		return c.wrong(call, err)
	}
	return c.failed(call, err)
}

// codeOf is the code of a reading's failure. What the server says of its event
// source is passed on. Codes that between core and family mean the family
// itself, such as a trigger type that it does not know, become Unavailable.
func codeOf(server codes.Code) codes.Code {
	switch server {
	case codes.InvalidArgument, codes.NotFound, codes.Unauthenticated, codes.PermissionDenied,
		codes.DeadlineExceeded, codes.ResourceExhausted:
		return server
	default:
		return codes.Unavailable
	}
}
