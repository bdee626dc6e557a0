// Command cluster runs Sluice on a local Kubernetes control plane.
//
//	cluster build            builds the control plane into bin/cluster
//	cluster build node       builds kubelet and kube-proxy into bin/node
//	cluster up               runs it until Ctrl-C, with deploy/overlays/all
//	cluster up -overlay ""   the control plane alone
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		return err
	}
	command := "help"
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "build":
		if len(args) == 2 && args[1] == "node" {
			return localcluster.BuildNode(ctx, repo, os.Stderr)
		}
		return localcluster.Build(ctx, repo, os.Stderr)
	case "up":
		return up(ctx, repo, args[1:])
	default:
		return errors.New("usage: cluster build [node] | cluster up [-overlay deploy/overlays/all] [-bin bin] [-keep]")
	}
}
