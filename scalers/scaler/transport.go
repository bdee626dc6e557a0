package scaler

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// This file is the one place that decides how a family is reached.

// keepaliveTime is how often an idle connection is checked, by either side.
const keepaliveTime = 30 * time.Second

// entrance is one way in: where it listens and who may come.
type entrance struct {
	listener    net.Listener
	credentials credentials.TransportCredentials
}

// listen opens the ways in.
func listen(ctx context.Context, address string) (entrance, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	return entrance{listener: l, credentials: insecure.NewCredentials()}, err
}

// options are the server options that the entrance needs.
func (e entrance) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(e.credentials),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			// Half of what our clients use: a ping a little early is no abuse.
			MinTime:             keepaliveTime / 2,
			PermitWithoutStream: true,
		}),
	}
}
