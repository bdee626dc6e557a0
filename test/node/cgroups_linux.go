package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// makeCgroups makes the node's root in every tree: the kubelet makes what is
// below it and wants that one to be there.
func makeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := delegate(root); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("cgroup: %w", err)
		}
		if err := delegate(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the groups below have all controllers. In version 1 they do.
func delegate(group string) error {
	text, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(text)) == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	all := "+" + strings.Join(strings.Fields(string(text)), " +")
	if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(all), 0); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// removeCgroups removes them in all trees. The kernel may need a moment to see
// that the last process has gone.
func removeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return waitFor(ctx, "the end of cgroups", func(context.Context) error {
		var errs []error
		for _, root := range roots {
			errs = append(errs, removeTree(filepath.Join(root, name)))
		}
		return errors.Join(errs...)
	})
}

// removeTree removes the innermost groups first; their files go with them.
func removeTree(top string) error {
	var groups []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, group := range slices.Backward(groups) {
		if gone := os.Remove(group); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
