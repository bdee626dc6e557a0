package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTicks is how many of them Linux counts in a second, on all platforms
// that Go runs on.
const clockTicks = 100

// resources is what the kernel counts of a process. A Pod has no /proc of its
// own, so its metrics do not tell.
type resources struct {
	name   string
	parent int
	rss    int64   // bytes in RAM
	shared int64   // of these, pages of the program's file
	files  int     // open descriptors, sockets among them
	cpu    float64 // seconds
}

// resourcesOf reads /proc.
func resourcesOf(pid int) (resources, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return resources{}, err
	}
	// The name in brackets may hold anything.
	opened, closed := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[closed+1:])
	if len(fields) < 22 {
		return resources{}, fmt.Errorf("%sstat has %d fields", dir, len(fields))
	}
	number := func(field int) int64 { // as proc_pid_stat(5) counts, from 1
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64)
		return n
	}
	memory, err := os.ReadFile(dir + "statm")
	if err != nil {
		return resources{}, err
	}
	pages := bytes.Fields(memory)
	if len(pages) < 3 {
		return resources{}, fmt.Errorf("%sstatm has %d fields", dir, len(pages))
	}
	shared, err := strconv.ParseInt(string(pages[2]), 10, 64)
	if err != nil {
		return resources{}, fmt.Errorf("%sstatm: %w", dir, err)
	}
	files, err := os.ReadDir(dir + "fd")
	if err != nil {
		return resources{}, err
	}
	return resources{
		name: string(stat[opened+1 : closed]), parent: int(number(4)),
		rss:    number(24) * int64(os.Getpagesize()),
		shared: shared * int64(os.Getpagesize()),
		files:  len(files),
		cpu:    float64(number(14)+number(15)) / clockTicks,
	}, nil
}

// machine is how much CPU has been used until now, in seconds.
type machine struct {
	all float64
	// ours is that of this process and of those it started, by name.
	ours map[string]float64
}

// lookAtMachine reads /proc. Processes that end meanwhile are nobody's.
func lookAtMachine() (machine, error) {
	m := machine{ours: map[string]float64{}}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, err
	}
	total, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(total) {
		ticks, _ := strconv.ParseFloat(field, 64)
		// user nice system idle iowait irq softirq steal; guests are in user.
		if i >= 1 && i <= 8 && i != 4 && i != 5 {
			m.all += ticks / clockTicks
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return m, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		r, err := resourcesOf(pid)
		if err == nil && (pid == os.Getpid() || r.parent == os.Getpid()) {
			m.ours[r.name] += r.cpu
		}
	}
	return m, nil
}

// othersName stands for everything on the machine that is not of this run.
const othersName = "everybody else"

// since is the use of CPU since an earlier look, in cores by program.
func (m machine) since(before machine, seconds float64) map[string]float64 {
	cores := map[string]float64{othersName: (m.all - before.all) / seconds}
	for name, cpu := range m.ours {
		cores[name] = (cpu - before.ours[name]) / seconds
		cores[othersName] -= cores[name]
	}
	return cores
}
