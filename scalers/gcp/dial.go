package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

const (
	// mostAnswer is the most of one answer, in bytes.
	mostAnswer = 4 << 20
	// mostElements is the most that it is made of: a page of points, each of a
	// series of its own with its labels.
	mostElements = 500_000
	// reconnectWithin bounds the pause before a service that was away is connected
	// to again. gRPC's own two minutes would outlast many polls.
	reconnectWithin = 10 * time.Second
)

// connection is one to a service of Google for one account, shared by all sources
// that ask it. It connects when it is first used.
type connection struct {
	*grpc.ClientConn

	at      endpoint
	name    string // of the service
	dialer  *client.Dialer
	account *google.Account // nil where nobody logs in
}

// connect makes a connection. It is called with the ctx of a dial of Shared.
func connect(ctx context.Context, at endpoint, account *google.Account, to lending.Service, ownIdentity bool) (*connection, error) {
	security, err := at.transport()
	if err != nil {
		return nil, err
	}
	dialer := client.DialerOf(ctx)
	if ownIdentity {
		dialer = dialer.Lending(to, at.flag, !at.plain)
	}
	if err := dialer.Check(at.host); err != nil {
		return nil, err
	}
	options := append(externalscaler.Bounded(at.host, externalscaler.Largest{Bytes: mostAnswer, Elements: mostElements}, security),
		// The name was checked above; gRPC has each of its addresses dialled.
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialResolved(ctx, "tcp", address)
		}),
		// One address is enough: Google balances behind it.
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectWithin},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithUserAgent("sluice-scaler-gcp"),
	)
	//dials:through grpc.WithContextDialer
	conn, err := grpc.NewClient("dns:///"+net.JoinHostPort(at.host, at.port), options...)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "%s: %v", at.flag, err)
	}
	return &connection{conn, at, to.String(), dialer, account}, nil
}

// call makes a call on a quota, which may be nil, with the account's token, and with
// what Google routes calls by, as names and values. Others share the quota: a query
// that is too much by itself does not have it rest.
func (c *connection) call(ctx context.Context, quota *client.Account, call func(context.Context) error, routing ...string) error {
	if err := quota.Take(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	token := ""
	if c.account != nil {
		fresh, err := c.account.TokenIn(ctx)
		if err != nil {
			return google.Failure(c.name, err)
		}
		token = fresh.AccessToken
		routing = append(routing, "authorization", "Bearer "+token)
	}
	err := call(metadata.AppendToOutgoingContext(ctx, routing...))
	if t := client.ThrottledGRPC(err); t != nil && client.OfQuota(err) {
		return fmt.Errorf("%s: %w", c.name, quota.Throttled(t.Pause, t.Said))
	}
	if status.Code(err) == codes.Unauthenticated && c.account != nil {
		c.account.Forget(token)
	}
	if client.AnsweredGRPC(err) {
		quota.Answered()
	}
	return c.failure(err)
}

// tooLarge is how gRPC says that an answer is larger than it may be.
const tooLarge = "grpc: received message"

// passedOn are codes that mean to the user what they mean to Google. Others could
// be taken for those of the family itself.
var passedOn = map[codes.Code]bool{codes.InvalidArgument: true, codes.NotFound: true, codes.PermissionDenied: true, codes.ResourceExhausted: true}

// failure is what a call's failure means. Nil stays nil.
func (c *connection) failure(err error) error {
	if err == nil {
		return nil
	}
	if refusal := c.dialer.Refusal(); refusal != nil {
		return scaler.Errorf(status.Code(refusal), "%s: %w", c.name, refusal)
	}
	answer := status.Convert(err)
	switch code := answer.Code(); {
	case code == codes.ResourceExhausted && strings.HasPrefix(answer.Message(), tooLarge):
		return client.TooLarge(scaler.Errorf(codes.Unavailable, "%s: the answer is larger than %d bytes", c.name, mostAnswer))
	case code == codes.DeadlineExceeded, code == codes.Canceled:
		return scaler.Errorf(code, "%s: no answer in time", c.name)
	case code == codes.Unauthenticated:
		return scaler.Errorf(code, "%s does not accept the token: %s", c.name, externalscaler.Message(answer.Message()))
	case passedOn[code]:
		return scaler.Errorf(code, "%s: %s: %s", c.name, code, externalscaler.Message(answer.Message()))
	default:
		return scaler.Errorf(codes.Unavailable, "%s: %s: %s", c.name, code, externalscaler.Message(answer.Message()))
	}
}

// connectionCost is what a connection over HTTP/2 takes.
const connectionCost = 64 << 10

// transport is TLS with the system's authorities and those of the process.
func (e endpoint) transport() (credentials.TransportCredentials, error) {
	if e.plain {
		return insecure.NewCredentials(), nil
	}
	config, err := client.TLSParams{}.Config(false)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(config), nil
}
