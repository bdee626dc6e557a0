package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// world is what all tests share.
var world struct {
	repo    string
	cluster *localcluster.Cluster
	node    *Node
}

func TestMain(m *testing.M) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
	code := 1
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	} else {
		code = m.Run()
		if code != 0 {
			fmt.Fprintln(os.Stderr, world.node.logs())
		}
	}
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if world.repo, err = localcluster.FindRepo("."); err != nil {
		return err
	}
	world.cluster, err = localcluster.Start(ctx, localcluster.Options{
		Bare: true, Parent: Folder(), Keep: os.Getenv("KEEP") != "", Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	var archives []string
	for _, folder := range []string{"images", "release/images"} {
		found, err := filepath.Glob(filepath.Join(world.repo, "bin/node", folder, "*.tar"))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("bin/node/%s: %v, %w: make test-node builds images", folder, found, err)
		}
		archives = append(archives, found...)
	}
	began := time.Now()
	if world.node, err = Start(ctx, world.cluster, archives...); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "node Ready with %d images in %.1fs\n", len(archives), time.Since(began).Seconds())
	return nil
}

func tearDown() error {
	var errs []error
	if world.node != nil {
		errs = append(errs, world.node.Stop())
	}
	if world.cluster != nil {
		errs = append(errs, world.cluster.Stop())
	}
	return errors.Join(errs...)
}
