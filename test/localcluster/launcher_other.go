//go:build unix && !linux

package localcluster

import (
	"os/exec"
	"syscall"
)

// dieWithParent can do no more here than keep the terminal's Ctrl-C away: only
// Linux tells a child of its parent's death.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}
