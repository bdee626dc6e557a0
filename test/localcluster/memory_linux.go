package localcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// memoryGroups are where cgroups with a memory limit can be made, and the file
// that holds the limit: version 2, and version 1.
//
// Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
var memoryGroups = []struct{ root, limit string }{
	{"/sys/fs/cgroup", "memory.max"},
	{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
}

// memoryGroup is a cgroup that holds what one Pod runs to its memory limit.
type memoryGroup struct{ dir string }

// newMemoryGroup returns nil where this machine, or this user on it, cannot
// make one.
func newMemoryGroup(name string, limit int64) *memoryGroup {
	for _, kind := range memoryGroups {
		g := &memoryGroup{filepath.Join(kind.root, fmt.Sprintf("sluice-%d-%s", os.Getpid(), name))}
		if os.Mkdir(g.dir, 0o755) != nil {
			continue
		}
		// A file system that is none of cgroups would make a file here.
		file, err := os.OpenFile(filepath.Join(g.dir, kind.limit), os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteString(strconv.FormatInt(limit, 10))
			err = errors.Join(err, file.Close())
		}
		if err == nil {
			return g
		}
		_ = g.close() // it was of no use
	}
	return nil
}

// add puts a process into the group, which ends it when it takes more than the
// limit.
func (g *memoryGroup) add(pid int) error {
	err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil // it has ended
	}
	return err
}

// close removes the group, in which nothing may run any more.
func (g *memoryGroup) close() error { return os.Remove(g.dir) }
