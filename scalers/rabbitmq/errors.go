package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failed puts err under what failed, with the gRPC code that follows from it.
// What the broker wrote is never repeated: it names users, and more.
func failed(what string, err error) error {
	var known interface{ GRPCStatus() *status.Status }
	if errors.As(err, &known) {
		st := known.GRPCStatus()
		return status.Error(st.Code(), what+": "+st.Message())
	}
	code, text := explain(err)
	return status.Error(code, what+": "+text)
}

// lostError is the end of a connection before it answered. Another one may.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// explain gives a failure of the connection its code and its words.
func explain(err error) (codes.Code, string) {
	var answered *amqp.Error
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return codes.DeadlineExceeded, "no answer in time"
	case errors.As(err, &untrusted):
		return codes.Unavailable, certificateText(untrusted.Err)
	case errors.As(err, &alert):
		return codes.Unauthenticated, refusedTLS
	case errors.As(err, &answered) && answered.Server:
		return codes.Unavailable, fmt.Sprintf("ended the connection with code %d", answered.Code)
	case errors.As(err, &answered) && strings.Contains(answered.Reason, "remote error: tls:"):
		return codes.Unauthenticated, refusedTLS // the library keeps the text alone
	case errors.As(err, &answered):
		return codes.Unavailable, "the connection was lost"
	default:
		return codes.Unavailable, err.Error() // of the network: host, port and reason
	}
}

const refusedTLS = "refused the TLS connection, see parameters cert and key"

func certificateText(err error) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return "the certificate of the broker is signed by an unknown authority, see parameter ca"
	}
	return err.Error()
}

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
		return status.Error(codes.Unauthenticated, "offers no way to log in that fits the credentials")
	case errors.Is(err, amqp.ErrCredentials) && !says(c):
		return status.Error(codes.Unauthenticated, "hung up during login, as brokers do that refuse it")
	case answered.Server && answered.Code == amqp.AccessRefused:
		return status.Error(codes.Unauthenticated, "login refused")
	case answered.Server && answered.Code == amqp.NotAllowed:
		return vhostFailure(answered.Reason)
	}
	return err
}

// vhostFailure tells apart what RabbitMQ puts under one code.
func vhostFailure(reason string) error {
	switch {
	case strings.Contains(reason, "not found"):
		return status.Error(codes.NotFound, "the vhost does not exist")
	case strings.Contains(reason, "refused"):
		return status.Error(codes.PermissionDenied, "the user may not access the vhost")
	default: // a limit of connections
		return status.Error(codes.Unavailable, "does not allow the connection")
	}
}

// queueFailure is what a closed channel says of a queue.
func queueFailure(err error, vhost string) error {
	var answered *amqp.Error
	if !errors.As(err, &answered) {
		return status.Error(codes.Unavailable, "the channel was lost")
	}
	switch answered.Code {
	case amqp.NotFound:
		return status.Errorf(codes.NotFound, "does not exist in vhost %s", vhost)
	case amqp.AccessRefused:
		return status.Errorf(codes.PermissionDenied, "the user may not look at it in vhost %s", vhost)
	case amqp.ResourceLocked:
		return status.Error(codes.FailedPrecondition, "is exclusive to another connection")
	default:
		return status.Errorf(codes.Unavailable, "refused with code %d", answered.Code)
	}
}
