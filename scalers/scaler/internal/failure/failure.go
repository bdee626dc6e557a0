// Package failure says what the error of a read or of a dial means: its gRPC
// code, and words for the user that hold no credential.
package failure

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// maxErrorText bounds what one error may carry to the user, in bytes. Some
// backends answer with whole pages.
const maxErrorText = 1000

// Status is the gRPC status of a trigger's failure: the code that the source
// gave or that its error implies, and "<type>: <text>".
func Status(triggerType string, err error) *status.Status {
	code, message := Explain(err)
	prefix := triggerType + ": "
	if !strings.HasPrefix(message, prefix) {
		message = prefix + message
	}
	message = strings.ToValidUTF8(message, "?")
	if len(message) > maxErrorText {
		message = strings.ToValidUTF8(message[:maxErrorText], "") + "..."
	}
	return status.New(code, message)
}

// Explain returns the code of an error and its text for the user.
func Explain(err error) (codes.Code, string) {
	var withStatus interface {
		error
		GRPCStatus() *status.Status
	}
	var timeout net.Error
	switch {
	case errors.As(err, &withStatus):
		st := withStatus.GRPCStatus()
		// Where the status is wrapped, its own "rpc error: code = ..." is
		// noise in the middle of a sentence.
		message := strings.ReplaceAll(err.Error(), withStatus.Error(), st.Message())
		return known(st.Code()), message
	case errors.Is(err, contract.ErrNoData):
		return codes.NotFound, err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return codes.DeadlineExceeded, strings.ReplaceAll(err.Error(), context.DeadlineExceeded.Error(), "no answer in time")
	case errors.As(err, &timeout) && timeout.Timeout():
		return codes.DeadlineExceeded, err.Error()
	default:
		return codes.Unavailable, err.Error()
	}
}

// known is the code of a failure as users and metrics know it: a source may send
// any number.
func known(code codes.Code) codes.Code {
	switch {
	case code == codes.OK:
		return codes.Internal
	case code > codes.Unauthenticated: // the last one there is
		return codes.Unknown
	}
	return code
}

// Refused is true when the source did not accept the credentials.
func Refused(err error) bool {
	if err == nil {
		return false
	}
	code, _ := Explain(err)
	return code == codes.Unauthenticated || code == codes.PermissionDenied
}

// Beyond returns what says that an answer went beyond a bound, such as that of a
// protocol; nil where nothing does. own is true for a bound of each answer: of one
// to a single question it is known whose it was.
func Beyond(err error) (own bool, which error) {
	var peer *wire.PeerError
	switch {
	case errors.As(err, &peer):
		return !peer.OfAll(), peer
	case errors.Is(err, outbound.ErrTooLarge):
		return true, outbound.ErrTooLarge
	}
	return false, nil
}

// OutOfBudget is true for a request that was not made, or given up, because those
// that it was for have used up what they share: another namespace may have some
// left.
func OutOfBudget(err error) bool {
	var refusal interface{ OutOfBudget() bool }
	return errors.As(err, &refusal) && refusal.OutOfBudget()
}

// Keep is err, by its words and its code, that also says of bounds and budgets what
// cause does: who makes words of a failure is not to hide that others may not share
// it.
func Keep(err, cause error) error {
	if _, beyond := Beyond(cause); beyond != nil {
		return words.Being(err, beyond)
	}
	if OutOfBudget(cause) {
		return words.Being(err, usedUpError{})
	}
	return err
}

type usedUpError struct{}

func (usedUpError) Error() string { return "the budget is used up" }

// OutOfBudget is for the function of that name.
func (usedUpError) OutOfBudget() bool { return true }

// Silent is true for an error which says that nobody answered.
func Silent(err error) bool {
	code, _ := Explain(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// InTime replaces whatever a client library makes of an exceeded deadline.
func InTime(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, contract.ErrNoData) {
		if code, _ := Explain(err); code == codes.Unavailable || code == codes.Canceled {
			return status.Error(codes.DeadlineExceeded, Text(err))
		}
	}
	return err
}

// Unheard is true when err says that there was no answer in time.
func Unheard(err error) bool {
	if err == nil {
		return false
	}
	code, _ := Explain(err)
	return code == codes.DeadlineExceeded
}

// Text is that of an error, "" for none.
func Text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// kinds are what somebody asks of an error that is kept.
var kinds = []error{contract.ErrPartial, contract.ErrNoData, contract.ErrDoorbellRefused, defect.Err}

// Settled is err as it is kept: its code, as many of its words as are told, and its
// kind. What it is made of has them once for each of its levels, as long as whoever
// wrote them wanted.
func Settled(err error) error {
	if err == nil || slices.Contains(kinds, err) {
		return err
	}
	code, text := Explain(err)
	settled := words.Cut(words.Plain(code, strings.Clone(text)), maxErrorText)
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return words.Being(settled, kind)
		}
	}
	return settled
}

// Redact takes the credentials out of an error's text, our own words excepted.
// Families keep them out already; this is the net below.
func Redact(err error, secrets []string) error {
	if err == nil {
		return nil
	}
	code, message := Explain(err)
	clean := words.Mask(message, err, secrets)
	if clean == message {
		return err
	}
	if errors.Is(err, contract.ErrNoData) {
		return contract.ErrNoData
	}
	return status.Error(code, clean)
}
