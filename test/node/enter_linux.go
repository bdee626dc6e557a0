package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// Stages of Enter, as stageEnv has them.
const (
	stageEnv  = "SLUICE_NODE_STAGE"
	first     = "first"  // the namespaces' first process
	inside    = "inside" // its child, which goes on as the program
	folderEnv = "SLUICE_NODE_FOLDER"
)

// Enter moves the process into process, mount and network namespaces of its
// own, in which a node can be started. It belongs at the very start of
// TestMain: it runs the program again from its beginning, inside, with the same
// arguments, and ends with its exit code. Inside it does nothing.
func Enter() error {
	switch os.Getenv(stageEnv) {
	case first:
		return beFirst()
	case inside:
		return localcluster.Enter()
	default:
		return leave()
	}
}

// Folder is where everything of this node is, the cluster's folder too. Its
// name is also that of the node's cgroups.
func Folder() string { return os.Getenv(folderEnv) }

// leave runs the program again in new namespaces and waits for its end.
func leave() error {
	runtime.LockOSThread() // the child's life hangs on this thread's
	if os.Geteuid() != 0 {
		return errors.New("a node needs root")
	}
	folder, err := newFolder()
	if err != nil {
		return fmt.Errorf("folder of the node: %w", err)
	}
	code, err := runInside(folder.path)
	if err := errors.Join(err, folder.remove()); err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

func runInside(folder string) (code int, err error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // this process ends as it ends
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), stageEnv+"="+first, folderEnv+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a Ctrl-C ends all of it, by the line below
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("new namespaces: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit code says it all
		close(ended)
	}()
	select {
	case <-signals:
		_ = cmd.Process.Kill() // and the kernel everything inside
		<-ended
		return 130, nil
	case <-ended:
		return cmd.ProcessState.ExitCode(), nil
	}
}

// places are what node programs write to by their own habit. Each is a folder
// of the node's, or for what need not outlive a process (sockets), memory.
var places = []string{"/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log"}

// beFirst makes the mounts and runs the program. Containers whose parents ended
// become its children: it collects them all.
func beFirst() error {
	if os.Getpid() != 1 {
		return errors.New("not the first process of its namespace")
	}
	if err := mountAll(); err != nil {
		return err
	}
	// Once in the environment, so that nothing can begin again as the first.
	if err := os.Setenv(stageEnv, inside); err != nil {
		return err
	}
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if ended != child.Pid {
			continue
		}
		if status.Signaled() {
			os.Exit(128 + int(status.Signal()))
		}
		os.Exit(status.ExitStatus())
	}
}

func mountAll() error {
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV); err != nil {
		return err
	}
	for _, place := range places {
		own := filepath.Join(Folder(), place)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		if err := mount(own, place, "", syscall.MS_BIND); err != nil {
			return err
		}
	}
	hosts := filepath.Join(Folder(), "hosts")
	text := "127.0.0.1 localhost\n" + address + " " + Name + "\n"
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return err
	}
	if err := mount(hosts, "/etc/hosts", "", syscall.MS_BIND); err != nil {
		return err
	}
	return syscall.Sethostname([]byte(Name))
}

func mount(from, to, kind string, flags uintptr) error {
	if err := syscall.Mount(from, to, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	return nil
}

// prefix of the names of folders and cgroups.
const prefix = "sluice-node-"

// folder of a node, with a lock that dies with the process that called Enter.
type folder struct {
	path string
	lock *os.File
	made []string // mount points that were not there before
}

func newFolder() (*folder, error) {
	if err := removeLeft(); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}
	f := &folder{path: path}
	if f.lock, err = lock(path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	if err := os.Chmod(path, 0o755); err != nil { // containers have other users
		return nil, errors.Join(err, f.remove())
	}
	for _, place := range places {
		if err := os.Mkdir(place, 0o755); err == nil {
			f.made = append(f.made, place)
		} else if !errors.Is(err, os.ErrExist) {
			return nil, errors.Join(err, f.remove())
		}
	}
	if err := makeCgroups(filepath.Base(path)); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return f, nil
}

// remove removes folder and cgroups, once nothing runs in them.
func (f *folder) remove() error {
	errs := []error{removeCgroups(filepath.Base(f.path))}
	if os.Getenv("KEEP") != "" {
		fmt.Fprintln(os.Stderr, "kept:", f.path)
	} else {
		errs = append(errs, os.RemoveAll(f.path))
	}
	for _, place := range f.made {
		errs = append(errs, os.Remove(place))
	}
	return errors.Join(append(errs, f.lock.Close())...)
}

// removeLeft removes what processes left that were killed.
func removeLeft() error {
	all, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range all {
		held, err := lock(path)
		if err != nil {
			continue // in use
		}
		err = errors.Join(removeCgroups(filepath.Base(path)), os.RemoveAll(path), held.Close())
		if err != nil {
			return fmt.Errorf("remove what a dead run left: %w", err)
		}
	}
	return nil
}

func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// hierarchies are the roots of all cgroup trees.
func hierarchies() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var roots []string
	for line := range strings.Lines(string(text)) {
		// 36 35 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if kind, _, _ := strings.Cut(after, " "); len(fields) > 4 && (kind == "cgroup" || kind == "cgroup2") {
			roots = append(roots, fields[4])
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no cgroups are mounted")
	}
	return roots, nil
}
