package federation

import (
	"errors"
	"fmt"
	"regexp"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrNoData is the answer of a source that has nothing to say. It is not zero.
var ErrNoData = errors.New("no data")

// ErrNoDescription is returned for a type whose family does not describe
// itself.
var ErrNoDescription = errors.New("family does not describe itself")

// codedError is a sentence for the user with a gRPC code. Unlike an error of
// package status its text is the sentence alone.
type codedError struct {
	code codes.Code
	text string
}

func (e *codedError) Error() string { return e.text }

// GRPCStatus makes status.Code and status.FromError see the code.
func (e *codedError) GRPCStatus() *status.Status { return status.New(e.code, e.text) }

// lateError is an error whose text is made when somebody reads it: what a made-up
// type may have meant is searched for, and nobody's lock is held for that.
type lateError struct{ made func() error }

func whenRead(made func() error) error { return &lateError{sync.OnceValue(made)} }

func (e *lateError) Error() string { return e.made().Error() }

func isLate(err error) bool {
	_, ok := err.(*lateError) //nolint:errorlint // of what is within it is the reader's business
	return ok
}

// GRPCStatus makes status.Code and status.FromError see the code.
func (e *lateError) GRPCStatus() *status.Status { return status.Convert(e.made()) }

func coded(code codes.Code, format string, args ...any) error {
	return &codedError{code: code, text: fmt.Sprintf(format, args...)}
}

// maxTypeLength leaves room for "scaler-" in a Service's name.
const maxTypeLength = 56

var typePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// servicePrefix and a type make the name of a Service.
const servicePrefix = "scaler-"

func canBeAType(text string) bool { return len(text) <= maxTypeLength && typePattern.MatchString(text) }

// CheckType returns why a trigger type cannot have a Service.
func CheckType(triggerType string) error {
	if !canBeAType(triggerType) {
		return impossible(triggerType)
	}
	return nil
}

func errNoInstance(triggerType, namespace string) error {
	return coded(codes.Unavailable, "Service %s%s in namespace %s has no ready instance", servicePrefix, triggerType, namespace)
}

// errUnknownYet is the answer before the cluster was looked at.
func errUnknownYet(namespace string) error {
	return coded(codes.Unavailable, "Services in namespace %s are not known yet", namespace)
}

// errService says what is wrong with a Service that exists.
func errService(triggerType, namespace, format string, args ...any) error {
	return coded(codes.FailedPrecondition, "Service %s%s in namespace %s %s",
		servicePrefix, triggerType, namespace, fmt.Sprintf(format, args...))
}
