package localcluster

import (
	"debug/elf"
	"fmt"
	"os"
	"syscall"
)

// contained is how a container's process is kept to its own: its root
// directory and its user.
func contained(root string, uid int64) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Chroot: root}
	if uidMapped(uid) {
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return attributes
}

// ownBy hands a file to the Pod's user, where that user exists.
func ownBy(path string, uid int64) error {
	if !uidMapped(uid) {
		return nil
	}
	return os.Lchown(path, int(uid), int(uid))
}

// checkStatic refuses a program that needs libraries: neither an image on an
// empty base nor a Pod's root directory here has any.
func checkStatic(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
