package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// process is one shipped program and its binary for each architecture.
type process struct {
	name     string
	binaries map[string]string // architecture: file
}

// find lists the processes under dir in order of their names. Each must be
// there for every architecture, so that no platform silently misses one.
func find(dir string) ([]process, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no binaries in %s", dir)
	}
	binaries := map[string]map[string]string{}
	architectures := map[string]bool{}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a file", file)
		}
		name, architecture := filepath.Base(file), filepath.Base(filepath.Dir(file))
		if binaries[name] == nil {
			binaries[name] = map[string]string{}
		}
		binaries[name][architecture] = file
		architectures[architecture] = true
	}
	var processes []process
	for _, name := range slices.Sorted(maps.Keys(binaries)) {
		for architecture := range architectures {
			if binaries[name][architecture] == "" {
				return nil, fmt.Errorf("%s: no binary for %s", name, architecture)
			}
		}
		processes = append(processes, process{name: name, binaries: binaries[name]})
	}
	return processes, nil
}
