package client

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
)

// NetworkFailure says what the failure of a connection to an event source
// means: its code, and words for the user that hold nothing of what was sent.
// It is false for every other error, such as an answer of the source.
func NetworkFailure(err error) (code codes.Code, text string, known bool) {
	return outcome.Network(err, outcome.Parameters{})
}

// NetworkFailure is the function of that name for a connection whose TLS is
// made of these parameters: it points to the one at fault.
func (TLSParams) NetworkFailure(err error) (code codes.Code, text string, known bool) {
	return outcome.Network(err, outcome.Parameters{Authority: "parameter ca", Certificate: "parameters cert and key"})
}

// Unanswered says what an exchange over HTTP means that brought no answer, or none
// that can be understood, for who reads answers of HTTPForLibrary: its code, and
// words for the user that hold nothing of what was sent.
func Unanswered(err error) (codes.Code, string) {
	if own := outcome.Own(err); own != nil {
		return status.Code(own), status.Convert(own).Message()
	}
	return outcome.Unanswered(err)
}
