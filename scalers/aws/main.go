// Command aws serves the AWS family of triggers over gRPC.
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
	cloudWatch,
	dynamoDB,
	dynamoDBStreams,
	kinesisStream,
	sqsQueue,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := scaler.Serve(ctx, "aws", triggers, scaler.WithCredentials(credentials.FromCluster), scaler.WithRequestBudget()); err != nil {
		fmt.Fprintln(os.Stderr, "aws:", err)
		os.Exit(1)
	}
}
