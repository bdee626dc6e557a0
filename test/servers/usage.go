package servers

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what a node's process has used.
type Usage struct {
	// CPU is the time that its threads have run since it started.
	CPU time.Duration
	// Memory is its resident set, in bytes.
	Memory int64
}

// Usage reads what the node's process has used so far. Linux alone tells.
func (n *Node) Usage() (u Usage, err error) {
	err = n.with(func(p *process) error {
		u, err = usageOf(p.cmd.Process.Pid)
		return err
	})
	return u, err
}

// usageOf reads a process's stat file, whose fields are counted from the end of
// the name in brackets: user time, system time and resident pages are the 12th,
// 13th and 22nd after it.
//
// Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func usageOf(pid int) (Usage, error) {
	const ticks = 100 // a second, which Linux shows on every architecture
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var numbers [3]int64
	for i, at := range []int{11, 12, 21} {
		if at >= len(fields) {
			return Usage{}, fmt.Errorf("process %d: %d fields", pid, len(fields))
		}
		if numbers[i], err = strconv.ParseInt(string(fields[at]), 10, 64); err != nil {
			return Usage{}, err
		}
	}
	return Usage{
		CPU:    time.Duration(numbers[0]+numbers[1]) * time.Second / ticks,
		Memory: numbers[2] * int64(os.Getpagesize()),
	}, nil
}
