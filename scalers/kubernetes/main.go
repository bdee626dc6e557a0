// Command kubernetes serves the kubernetes family of triggers over gRPC.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// triggers is the whole family. A new trigger type adds its file and its line.
var triggers = []scaler.Trigger{
	kubernetesWorkload,
	kubernetesResource,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := scaler.Serve(ctx, "kubernetes", triggers); err != nil {
		fmt.Fprintln(os.Stderr, "kubernetes:", err)
		os.Exit(1)
	}
}
