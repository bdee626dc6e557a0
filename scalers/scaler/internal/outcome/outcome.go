// Package outcome says what a failed exchange with a server means to a trigger:
// its gRPC code, and words that hold nothing of what was sent or answered.
package outcome

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Own returns the error of ours that err wraps, without what libraries have
// put around it; nil when there is none.
func Own(err error) error {
	var own interface{ GRPCStatus() *status.Status }
	if errors.As(err, &own) {
		return own.GRPCStatus().Err()
	}
	return nil
}

// Code is what an HTTP status other than 2xx means.
func Code(answered int) codes.Code {
	switch {
	case answered == http.StatusUnauthorized:
		return codes.Unauthenticated
	case answered == http.StatusForbidden:
		return codes.PermissionDenied
	case answered == http.StatusNotFound:
		return codes.NotFound
	case answered == http.StatusRequestTimeout, answered == http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	case answered == http.StatusTooManyRequests, answered >= 500:
		return codes.Unavailable
	default:
		return codes.FailedPrecondition
	}
}

// Text is an HTTP status in words, such as "404 Not Found".
func Text(answered int) string { return strconv.Itoa(answered) + " " + http.StatusText(answered) }

// Unanswered is the code and the cause of an exchange that brought no answer,
// or none that can be understood: whoever decodes it may quote it.
func Unanswered(err error) (codes.Code, string) {
	var wrapped *url.Error
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return codes.DeadlineExceeded, "no answer in time"
	case errors.As(err, &wrapped):
		return codes.Unavailable, wrapped.Err.Error()
	case errors.As(err, &network):
		return codes.Unavailable, network.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return codes.Unavailable, "the answer ends too early"
	default:
		return codes.Unavailable, "the answer cannot be understood"
	}
}
