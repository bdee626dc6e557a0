package servers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// parentFolder, when set, makes this test binary a parent that starts a child
// and waits to be killed.
const parentFolder = "SLUICE_TEST_PARENT"

func TestChildDiesWithItsParent(t *testing.T) {
	if dir := os.Getenv(parentFolder); dir != "" {
		beParent(t, dir)
		return
	}
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	parent.Env = append(os.Environ(), parentFolder+"="+t.TempDir())
	input, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child = strings.TrimSpace(child)
	if gone(child) {
		t.Fatalf("child %s did not run", child)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as intended
	awaitGone(t, child)
}

func TestKillReachesTheWholeGroup(t *testing.T) {
	log, err := createLog(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	ready := log.saw("grandchild")
	p, err := startProcess(exec.CommandContext(t.Context(), "sh", "-c", "sleep 600 & echo grandchild $!; wait"), log)
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	grandchild := strings.Fields(log.tail(100))[1]
	awaitGone(t, grandchild)
	if err := p.kill(); err != nil {
		t.Errorf("killing what has ended: %v", err)
	}
}

// beParent prints its child's process id and lives until it is killed.
func beParent(t *testing.T, dir string) {
	log, err := createLog(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(exec.CommandContext(t.Context(), "sleep", "600"), log)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(p.cmd.Process.Pid)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// gone tells whether a process has ended; one that nobody has waited for yet
// (state Z) has.
func gone(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return true
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return state[0] == 'Z'
}

func awaitGone(t *testing.T, pid string) {
	t.Helper()
	timeout := time.After(time.Minute)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !gone(pid) {
		select {
		case <-timeout:
			t.Fatalf("process %s still runs", pid)
		case <-ticker.C:
		}
	}
}
