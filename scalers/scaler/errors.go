package scaler

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Safely calls f and turns a panic in it into an error for the user, with the
// stack in the log. Nobody catches a panic of a goroutine, and it ends the
// process, so whatever a family starts runs in here. doing says what, and of
// which endpoint.
func Safely(doing string, f func() error) (err error) {
	defer defect.Recovered(doing, &err)
	return f()
}

// Errorf is fmt.Errorf with a gRPC code, for failures in words of the family's
// own: the text of the format is no credential, whatever the user's password
// is. What its verbs put in is searched for credentials, except for errors that
// were made by Errorf themselves.
func Errorf(code codes.Code, format string, args ...any) error {
	return words.Errorf(code, format, args...)
}

// Because is what a family makes of the failure of a client library: its code and
// a text. The text is the family's own unless it stands in cause.
func Because(code codes.Code, text string, cause error) error {
	err := words.Plain(code, text)
	if strings.Contains(cause.Error(), text) {
		err = words.Errorf(code, "%s", text)
	}
	return failure.Keep(err, cause)
}
