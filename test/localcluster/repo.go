package localcluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// FindRepo returns the root of the repository that contains dir: the nearest
// folder upwards with test/cluster/go.mod in it.
func FindRepo(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := start; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "test", "cluster", "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no folder above %s contains test/cluster/go.mod", start)
		}
	}
}
