package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// clockTicks is how many of them Linux counts in a second, on all platforms
// that Go runs on.
const clockTicks = 100

// resources is what the kernel counts of a process. A Pod has no /proc of its
// own, so its metrics do not tell.
type resources struct {
	rss   int64   // bytes
	files int     // open descriptors, sockets among them
	cpu   float64 // seconds
}

// resourcesOf reads /proc.
func resourcesOf(pid int) (resources, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return resources{}, err
	}
	// The name before the last bracket may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return resources{}, fmt.Errorf("%sstat has %d fields", dir, len(fields))
	}
	number := func(field int) int64 { // as proc_pid_stat(5) counts, from 1
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64)
		return n
	}
	files, err := os.ReadDir(dir + "fd")
	if err != nil {
		return resources{}, err
	}
	return resources{
		rss:   number(24) * int64(os.Getpagesize()),
		files: len(files),
		cpu:   float64(number(14)+number(15)) / clockTicks,
	}, nil
}
