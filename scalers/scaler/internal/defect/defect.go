// Package defect turns a panic into an error. Nobody catches that of a
// goroutine, and it ends the process with everybody's triggers.
package defect

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Err is what the user is told: the rest is in the log.
var Err = words.Plain(codes.Internal, "a defect in this scaler, described in its log")

// Recovered turns a panic into Err, with the stack in the log. It is deferred.
// doing says what, and of which endpoint.
func Recovered(doing string, err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	slog.Error("panic in a scaler", "doing", doing, "panic", Text(cause), "stack", string(debug.Stack()))
	*err = Err
}

// Text is what is logged of a panic. The runtime's own words quote no value;
// anybody else's may be a credential.
func Text(cause any) string {
	if err, ok := cause.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", cause)
}
