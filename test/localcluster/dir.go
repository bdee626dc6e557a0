package localcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// dirPattern names the folders of clusters among other temporary ones.
const dirPattern = "sluice-cluster-"

// clusterDir is the folder of one cluster: keys, logs, etcd's data and the
// root directories of Pods. Its lock is held while the cluster lives.
type clusterDir struct {
	path   string
	unlock func()
}

// newClusterDir makes a folder below parent (the system's temporary folder
// when empty) and removes those that dead runs have left there.
func newClusterDir(parent string) (*clusterDir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	if err := reapDirs(parent); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, dirPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o755); err != nil { // Pods have other users
		return nil, err
	}
	unlock, err := lockFile(filepath.Join(path, "lock"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &clusterDir{path: path, unlock: unlock}, nil
}

// reapDirs removes the folders whose owner is dead: a lock dies with it.
func reapDirs(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, dirPattern+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		lock := filepath.Join(dir, "lock")
		if _, err := os.Stat(lock); err != nil {
			continue // just being made, or somebody else's
		}
		unlock, ok, err := tryLockFile(lock)
		if err != nil || !ok {
			continue // in use, or another user's
		}
		err = os.RemoveAll(dir)
		unlock()
		if err != nil {
			return fmt.Errorf("remove what a dead run left: %w", err)
		}
	}
	return nil
}

func (d *clusterDir) join(elements ...string) string {
	return filepath.Join(append([]string{d.path}, elements...)...)
}

// make creates folders below the cluster's.
func (d *clusterDir) make(names ...string) error {
	for _, name := range names {
		if err := os.MkdirAll(d.join(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (d *clusterDir) remove() error {
	err := os.RemoveAll(d.path)
	d.unlock()
	return err
}
