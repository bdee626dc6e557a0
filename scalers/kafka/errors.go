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

	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure puts err under what was being asked, with the gRPC code that follows
// from it. What a broker answers never holds a secret.
func failure(asked string, err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codeOf(err), fmt.Sprintf("%s: %s", asked, text(err)))
}

// withStatus is an error that knows its code, such as that of a token endpoint.
type withStatus interface {
	error
	GRPCStatus() *status.Status
}

// codes of what brokers answer; everything else they answer is Unavailable.
var brokerCodes = map[*kerr.Error]codes.Code{
	kerr.SaslAuthenticationFailed:           codes.Unauthenticated,
	kerr.IllegalSaslState:                   codes.Unauthenticated,
	kerr.UnsupportedSaslMechanism:           codes.Unauthenticated,
	kerr.TopicAuthorizationFailed:           codes.PermissionDenied,
	kerr.GroupAuthorizationFailed:           codes.PermissionDenied,
	kerr.ClusterAuthorizationFailed:         codes.PermissionDenied,
	kerr.DelegationTokenAuthorizationFailed: codes.PermissionDenied,
	kerr.UnknownTopicOrPartition:            codes.NotFound,
	kerr.UnknownTopicID:                     codes.NotFound,
	kerr.InvalidTopicException:              codes.InvalidArgument,
	kerr.InvalidGroupID:                     codes.InvalidArgument,
	kerr.RequestTimedOut:                    codes.DeadlineExceeded,
}

// remoteAlert is what crypto/tls calls a broker's refusal to go on with TLS.
const remoteAlert = "remote error"

func codeOf(err error) codes.Code {
	var answered *kerr.Error
	var network *net.OpError
	var own withStatus
	switch {
	case errors.As(err, &own):
		return own.GRPCStatus().Code()
	case errors.As(err, &answered):
		if code, known := brokerCodes[answered]; known {
			return code
		}
		return codes.Unavailable
	case errors.As(err, new(loginError)):
		return codes.Unauthenticated
	case errors.As(err, &network) && network.Op == remoteAlert: // most often: bad certificate
		return codes.Unauthenticated
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	default:
		return codes.Unavailable
	}
}

// text is what the user reads of an error.
func text(err error) string {
	var untrusted *tls.CertificateVerificationError
	var own withStatus
	switch {
	case errors.As(err, &own):
		return strings.ReplaceAll(err.Error(), own.Error(), own.GRPCStatus().Message())
	case errors.As(err, &untrusted):
		return certificateText(untrusted.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	default:
		return err.Error()
	}
}

func certificateText(err error) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return "the certificate of the broker is signed by an unknown authority, see parameter ca"
	}
	return err.Error()
}

// errOmitted is a part of the question that the brokers' answer is silent on.
var errOmitted = errors.New("left out of the answer")

// loginError is a login that failed before the broker was asked, such as a
// token that the identity provider refused.
type loginError struct{ reason string }

func (e loginError) Error() string { return e.reason }
