package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"net"
	"os"

	"google.golang.org/grpc/codes"
)

// network gives failures that are not a server's answer their code and their
// words. It is false for all others.
func network(err error) (codes.Code, string, bool) {
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var timeout net.Error
	var operation *net.OpError
	var name *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "cancelled", true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return codes.DeadlineExceeded, "no answer in time", true
	case errors.As(err, &untrusted):
		var unknown x509.UnknownAuthorityError
		if errors.As(untrusted.Err, &unknown) {
			return codes.Unavailable, "the certificate of the server is signed by an unknown authority", true
		}
		return codes.Unavailable, untrusted.Err.Error(), true
	case errors.As(err, &alert):
		return codes.Unauthenticated, "refused the TLS connection", true
	case errors.As(err, &name):
		return codes.Unavailable, name.Error(), true
	case errors.As(err, &operation):
		return codes.Unavailable, operation.Error(), true // host, port and reason
	case errors.Is(err, driver.ErrBadConn):
		return codes.Unavailable, "the connection was lost", true
	default:
		return 0, "", false
	}
}

// refusal is what a server's error means.
type refusal struct {
	code codes.Code
	text string
}
