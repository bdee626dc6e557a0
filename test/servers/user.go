package servers

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Databases refuse to run as root. When the tests do, a database runs as the
// user that its package made, and owns its folder.

// as lets cmd run as the named user, when we are root and there is one.
func as(name string, cmd *exec.Cmd) *exec.Cmd {
	if uid, gid, ok := identity(name); ok {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

// give makes the named user the owner of all in dir, when we are root and
// there is such a user.
func give(name, dir string) error {
	uid, gid, ok := identity(name)
	if !ok {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, gid))
	})
}

func identity(name string) (uid, gid int, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	return uid, gid, errUID == nil && errGID == nil
}
