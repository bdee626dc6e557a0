package servers

import "syscall"

// childAttributes puts a child in a group of its own, which is signalled as
// one, and lets it die with its parent.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
