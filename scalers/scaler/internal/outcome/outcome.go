// Package outcome says what a failed exchange with a server means to a trigger:
// its gRPC code, and words that hold nothing of what was sent or answered.
package outcome

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
)

// Own returns the error of ours that err wraps, without what libraries have
// put around it; nil when there is none.
func Own(err error) error {
	var own interface{ GRPCStatus() *status.Status }
	if errors.As(err, &own) {
		return failure.Keep(own.GRPCStatus().Err(), err)
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
	var size outbound.SizeError
	if errors.As(err, &size) {
		return codes.Unavailable, size.Error()
	}
	var exchange *url.Error
	early := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if early && !errors.As(err, &exchange) {
		return codes.Unavailable, "the answer ends too early"
	}
	if code, text, known := Network(err, Parameters{}); known {
		return code, text
	}
	if errors.As(err, &exchange) {
		return codes.Unavailable, outbound.Unanswered(exchange.Err)
	}
	return codes.Unavailable, "the answer cannot be understood"
}
