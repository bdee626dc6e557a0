package main

import (
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// failure puts err under what was being asked, with the gRPC code that follows
// from it. What a broker answers never holds a secret.
func failure(asked string, err error) error {
	if err == nil {
		return nil
	}
	code, text := explain(err)
	return scaler.Errorf(code, "%s: %w", asked, scaler.Because(code, text, err))
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

// explain gives a failure its code and its words.
func explain(err error) (codes.Code, string) {
	var answered *kerr.Error
	var own withStatus
	var broker *brokerError
	switch {
	case errors.As(err, &broker):
		code, text := explain(broker.err)
		if timedOut(broker.err) && code != codes.Canceled {
			code, text = codes.DeadlineExceeded, errNoAnswer.Error()
		}
		return code, broker.broker + ": " + text
	case errors.As(err, &own):
		return own.GRPCStatus().Code(), strings.ReplaceAll(err.Error(), own.Error(), own.GRPCStatus().Message())
	case errors.As(err, &answered):
		if code, known := brokerCodes[answered]; known {
			return code, err.Error()
		}
		return codes.Unavailable, err.Error()
	case errors.As(err, new(loginError)):
		return codes.Unauthenticated, err.Error()
	}
	if code, text, known := (client.TLSParams{}).NetworkFailure(err); known {
		return code, text
	}
	return codes.Unavailable, err.Error()
}

// errOmitted is a part of the question that the brokers' answer leaves out.
var errOmitted = errors.New("left out of the answer")

// loginError is a login that failed before the broker was asked, such as a
// token that the identity provider refused.
type loginError struct{ reason string }

func (e loginError) Error() string { return e.reason }
