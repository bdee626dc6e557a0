package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// searchMemory fails if what was planted is anywhere in a process's memory.
func searchMemory(t *testing.T, instance *localcluster.Instance) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return // other systems show a process's memory to debuggers alone
	}
	found, err := inMemory(instance.PID(), planted, "keda.sh/v1alpha1")
	if err != nil {
		t.Fatalf("memory of %s: %v", instance.Name(), err)
	}
	if !found["keda.sh/v1alpha1"] {
		t.Errorf("memory of %s: not even what must be there was found", instance.Name())
	}
	if found[planted] {
		t.Errorf("memory of %s holds a credential", instance.Name())
	}
}

// inMemory tells which of the texts are in the writable memory of a process.
//
// Source: proc_pid_maps(5), proc_pid_mem(5).
func inMemory(pid int, texts ...string) (map[string]bool, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	found := map[string]bool{}
	for line := range strings.Lines(string(maps)) {
		var begin, end uint64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &begin, &end, &rights); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(rights, "rw") {
			continue
		}
		// Pages that were never touched, and those that went meanwhile, cannot
		// be read.
		content, _ := io.ReadAll(io.NewSectionReader(memory, int64(begin), int64(end-begin)))
		for _, text := range texts {
			found[text] = found[text] || bytes.Contains(content, []byte(text))
		}
	}
	return found, nil
}
