// Command demo shows Sluice at its main job on a real Kubernetes control plane:
// a backlog scales a Deployment 0 -> N -> 0. BROKER chooses what holds the
// backlog: kfake (the default, in this process), kafka or rabbitmq, which are
// installed by `make test-servers`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// timeLimit is many times what the demo takes.
const timeLimit = 5 * time.Minute

func main() {
	if err := localcluster.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(interrupted, timeLimit)
	defer cancel()
	err := run(ctx, os.Getenv("BROKER"))
	if interrupted.Err() != nil {
		err = errors.New("interrupted; everything was stopped")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, broker string) (err error) {
	fmt.Println("starting a Kubernetes control plane")
	begin := time.Now()
	cluster, err := localcluster.Start(ctx, localcluster.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	fmt.Printf("  ready after %.1f s\n", time.Since(begin).Seconds())

	fmt.Println("installing deploy/overlays/all: controller, metrics adapter and four scaler families")
	begin = time.Now()
	if err := cluster.Install(ctx, localcluster.Installation{Overlay: "deploy/overlays/all"}); err != nil {
		return err
	}
	fmt.Printf("  ready after %.1f s\n", time.Since(begin).Seconds())

	queue, closeBroker, err := startBroker(ctx, broker, cluster.Address())
	if err != nil {
		return err
	}
	defer closeBroker()
	show := &show{cluster: cluster, queue: queue}
	return show.run(ctx)
}
