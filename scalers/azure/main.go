// Command azure serves the Azure family of triggers over gRPC.
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
	azureAppInsights,
	azureBlob,
	azureDataExplorer,
	azureEventHub,
	azureLogAnalytics,
	azureMonitor,
	azureQueue,
	azureServiceBus,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := scaler.Serve(ctx, "azure", triggers, scaler.WithCredentials(credentials.FromCluster), scaler.WithRequestBudget()); err != nil {
		fmt.Fprintln(os.Stderr, "azure:", err)
		os.Exit(1)
	}
}
