// Command gcp serves the Google Cloud family of triggers over gRPC.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials"
)

// triggers is the whole family. A new trigger type adds its file and its line.
var triggers = []scaler.Trigger{
	cloudTasks,
	pubSub,
	spanner,
	stackdriver,
	storage,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := scaler.Serve(ctx, "gcp", triggers, scaler.WithCredentials(credentials.FromCluster),
		scaler.WithRequestBudget(), scaler.WithFlags(endpointFlags)); err != nil {
		fmt.Fprintln(os.Stderr, "gcp:", err)
		os.Exit(1)
	}
}
