//go:build unix && !linux

package servers

import "syscall"

// childAttributes puts a child in a group of its own, which is signalled as
// one. Only Linux can tie its life to its parent's.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// frozen takes it for granted that a signal has arrived.
func frozen(int) bool { return true }
