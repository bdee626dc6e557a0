//go:build unix && !linux

package localcluster

// memoryGroup would hold a Pod to its memory limit; only Linux has cgroups.
type memoryGroup struct{}

func newMemoryGroup(string, int64) *memoryGroup { return nil }

func (*memoryGroup) add(int) error { return nil }

func (*memoryGroup) close() error { return nil }
