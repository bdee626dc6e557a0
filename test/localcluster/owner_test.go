package localcluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// owner is this test binary, running again to own a cluster.
type owner struct {
	cmd    *exec.Cmd
	stdout io.Reader
}

func ownerProcess(t *testing.T, parent string) owner {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledOwner$")
	cmd.Env = append(os.Environ(), "SLUICE_TEST_OWNER="+parent)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return owner{cmd, stdout}
}

// ownClusterUntilKilled prints the cluster's processes, one number a line and
// then an empty line, and waits for its end.
func ownClusterUntilKilled(t *testing.T) {
	c, err := Start(t.Context(), Options{Parent: os.Getenv("SLUICE_TEST_OWNER")})
	must(t, err)
	for _, pid := range pidsOf(c) {
		fmt.Println("pid", pid)
	}
	fmt.Println("done")
	select {}
}

func readPIDs(ctx context.Context, from io.Reader) (pids []int, err error) {
	lines := make(chan string)
	go func() { // ends with the owner
		defer close(lines)
		for scanner := bufio.NewScanner(from); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case line, open := <-lines:
			if !open {
				return nil, fmt.Errorf("the owner ended by itself")
			}
			if line == "done" {
				return pids, nil
			}
			var pid int
			if _, err := fmt.Sscanf(line, "pid %d", &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
}

// ended tells whether a process is gone, or dead and waiting for its parent.
func ended(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || strings.Contains(string(status), "State:\tZ")
}
