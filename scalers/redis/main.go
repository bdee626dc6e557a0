// Command redis serves the Redis family of triggers over gRPC.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials"
)

// triggers is the whole family. A new trigger type adds its file and its line.
var triggers = []scaler.Trigger{
	redisList,
	redisClusterList,
	redisSentinelList,
	redisStreams,
	redisClusterStreams,
	redisSentinelStreams,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	redis.SetLogger(quiet{})
	if err := scaler.Serve(ctx, "redis", triggers, scaler.WithCredentials(credentials.FromCluster)); err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}
