// Command nats serves the NATS family of triggers over gRPC.
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
	natsJetStream,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := scaler.Serve(ctx, "nats", triggers, scaler.WithCredentials(credentials.FromCluster)); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}
