package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// failed puts err under what failed, with the gRPC code that follows from it.
// What the broker wrote is never repeated: it names users, and more.
func failed(what string, err error) error {
	var known interface{ GRPCStatus() *status.Status }
	if errors.As(err, &known) {
		return scaler.Errorf(known.GRPCStatus().Code(), "%s: %w", what, err)
	}
	code, text := explain(err)
	return scaler.Errorf(code, "%s: %w", what, scaler.Because(code, text, err))
}

// lostError is the end of a connection before it answered. Another one may.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// explain gives a failure of the connection its code and its words.
func explain(err error) (codes.Code, string) {
	if code, text, known := (client.TLSParams{}).NetworkFailure(err); known {
		return code, text
	}
	var answered *amqp.Error
	switch {
	case !errors.As(err, &answered):
		return codes.Unavailable, err.Error()
	case answered.Server:
		return codes.Unavailable, fmt.Sprintf("ended the connection with code %d", answered.Code)
	case strings.Contains(answered.Reason, "remote error: tls:"): // the library keeps the text alone
		return codes.Unauthenticated, refusedTLS + ", see parameters cert and key"
	default:
		return codes.Unavailable, "the connection was lost"
	}
}

const refusedTLS = "refused the TLS connection"

// loginFailure says why there is no connection. c is what there was of it, or
// nil.
func loginFailure(ctx context.Context, c *amqp.Connection, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // whatever the library makes of the connection's end
	}
	var answered *amqp.Error
	if !errors.As(err, &answered) {
		return err
	}
	switch {
	case errors.Is(err, amqp.ErrSASL):
		return scaler.Errorf(codes.Unauthenticated, "offers no way to log in that fits the credentials")
	case errors.Is(err, amqp.ErrCredentials) && !says(c):
		return scaler.Errorf(codes.Unauthenticated, "hung up during login, as brokers do that refuse it")
	case answered.Server && answered.Code == amqp.AccessRefused:
		return scaler.Errorf(codes.Unauthenticated, "login refused")
	case answered.Server && answered.Code == amqp.NotAllowed:
		return vhostFailure(answered.Reason)
	}
	return err
}

// vhostFailure tells apart what RabbitMQ puts under one code.
func vhostFailure(reason string) error {
	switch {
	case strings.Contains(reason, "not found"):
		return scaler.Errorf(codes.NotFound, "the vhost does not exist")
	case strings.Contains(reason, "refused"):
		return scaler.Errorf(codes.PermissionDenied, "the user may not access the vhost")
	default: // a limit of connections
		return scaler.Errorf(codes.Unavailable, "does not allow the connection")
	}
}

// queueFailure is what a closed channel says of a queue.
func queueFailure(err error, vhost string) error {
	var answered *amqp.Error
	if !errors.As(err, &answered) {
		return scaler.Errorf(codes.Unavailable, "the channel was lost")
	}
	switch answered.Code {
	case amqp.NotFound:
		return scaler.Errorf(codes.NotFound, "does not exist in vhost %s", vhost)
	case amqp.AccessRefused:
		return scaler.Errorf(codes.PermissionDenied, "the user may not look at it in vhost %s", vhost)
	case amqp.ResourceLocked:
		return scaler.Errorf(codes.FailedPrecondition, "is exclusive to another connection")
	default:
		return scaler.Errorf(codes.Unavailable, "refused with code %d", answered.Code)
	}
}
