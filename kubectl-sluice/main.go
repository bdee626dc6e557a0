// Command kubectl-sluice is a plugin of kubectl. It does what its user may do,
// and asks the API server alone, and a Prometheus where they name one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/command"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

// version is set by the linker.
var version = "unknown"

func main() {
	// What libraries say goes the way of all that is printed.
	errs := terminal.NewWriter(os.Stderr)
	klog.LogToStderr(false)
	klog.SetOutput(errs)
	rest.SetDefaultWarningHandler(rest.NewWarningWriter(errs, rest.WarningWriterOptions{Deduplicate: true}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Run(ctx, version, os.Args[1:], command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
