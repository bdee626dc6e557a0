package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// startLimit is more than a slow machine needs.
const startLimit = 3 * time.Minute

// up runs a cluster until ctx ends. The control plane is built first, since
// the network that Enter makes leads nowhere.
func up(ctx context.Context, repo string, args []string) (err error) {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	overlay := flags.String("overlay", "deploy/overlays/all", "kustomization to run; none when empty")
	binaries := flags.String("bin", "", "folder of the components' binaries (default bin of the repository)")
	keep := flags.Bool("keep", false, "keep the cluster's folder, and so the logs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := localcluster.Build(ctx, repo, os.Stderr); err != nil {
		return err
	}
	if err := localcluster.Enter(); err != nil {
		return err
	}
	door, err := localcluster.Door()
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cluster, err := localcluster.Start(starting, localcluster.Options{
		Repo: repo, BinDir: *binaries, Keep: *keep, Door: door, Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(os.Stderr, "stopping")
		err = errors.Join(err, cluster.Stop())
	}()
	if *overlay != "" {
		fmt.Fprintln(os.Stderr, "installing", *overlay)
		if err := cluster.Install(starting, localcluster.Installation{Overlay: *overlay}); err != nil {
			return err
		}
	}
	describe(cluster)
	<-ctx.Done()
	return nil
}

// describe tells how to use the cluster and what runs on it.
func describe(cluster *localcluster.Cluster) {
	kubeconfig := cluster.HostKubeconfig()
	if kubeconfig == "" {
		kubeconfig = cluster.Kubeconfig()
	}
	fmt.Printf("\n  export KUBECONFIG=%s PATH=%s:$PATH\n  kubectl get pods -A\n\n", kubeconfig, cluster.BinDir())
	for _, instance := range cluster.Instances("") {
		fmt.Printf("  %-40s %-15s pid %-7d %s\n", instance.Name(), instance.Address(), instance.PID(), instance.LogFile())
	}
	if cluster.Isolated() {
		fmt.Printf("\nto reach these addresses, or to run a broker for them at %s (as root):\n  nsenter --target %d --net\n", cluster.Address(), os.Getpid())
	}
	fmt.Println("\nCtrl-C ends it all")
}
