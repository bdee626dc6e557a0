// Command kubectl-sluice is a plugin of kubectl. It does what its user may do,
// and asks the API server alone.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/command"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Run(ctx, version, os.Args[1:], command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
