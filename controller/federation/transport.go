package federation

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

const (
	// largestFrame is what the contract allows, with room for the frame around
	// it.
	largestFrame = 1 << 20
)

// largestReceived is what an instance may send.
var largestReceived = externalscaler.Largest{Bytes: largestFrame + 1<<16, Elements: externalscaler.MostElements}

// keepaliveTime is how soon a silent connection is tried. Families expect it;
// servers of others take it for abuse and hang up, since by gRPC's own rules
// more than one in five minutes is.
const (
	keepaliveTime       = 30 * time.Second
	keepaliveTimeGentle = 6 * time.Minute
)

// dial makes the connection to an instance, thirdParty for one that is no family.
// It does not connect yet.
func dial(config Config, key instanceKey, thirdParty bool) (*grpc.ClientConn, error) {
	creds, err := transportFor(config, key)
	if err != nil {
		return nil, err
	}
	alive := keepalive.ClientParameters{Time: keepaliveTime, Timeout: 10 * time.Second}
	if thirdParty {
		alive.Time = keepaliveTimeGentle
	}
	options := append(externalscaler.Bounded(key.address, largestReceived, creds),
		grpc.WithIdleTimeout(0), // its owner ends it
		grpc.WithKeepaliveParams(alive),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDisableServiceConfig(), // a DNS record does not decide how we call
		grpc.WithUserAgent("sluice"),
		grpc.WithContextDialer(outbound.DialFamily),
	)
	return grpc.NewClient(key.target, append(options, config.Dial...)...) //dials:through grpc.WithContextDialer
}

func transportFor(config Config, key instanceKey) (credentials.TransportCredentials, error) {
	switch {
	case key.plaintext:
		return insecure.NewCredentials(), nil
	case config.Transport == nil:
		return nil, coded(codes.FailedPrecondition, "no keys for a connection to family %s", key.family)
	}
	return config.Transport(key.family)
}
