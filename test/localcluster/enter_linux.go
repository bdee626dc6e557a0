package localcluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
)

const (
	// enteredEnv holds the identity of the network namespace made by Enter.
	enteredEnv = "SLUICE_NETWORK"
	// doorEnv holds the descriptor of a socket that listens outside.
	doorEnv = "SLUICE_NETWORK_DOOR"
	// enteredAsUser stands in enteredEnv until the child knows its namespace.
	enteredAsUser = "child"
)

// Enter moves the process into a network of its own, in which clusters can be
// started. It belongs at the very start of main or TestMain: it runs the
// program again from its beginning, inside, with the same arguments. Inside it
// does nothing.
//
// The namespace has no name: it ends with the last process in it, and nothing
// is left behind whatever ends them. As root the process keeps its id. As
// another user it runs in a user namespace, as the child of a process that
// only waits for it. Where neither is allowed, Enter does nothing and clusters
// use the machine's loopback device.
func Enter() error {
	if err := learnIdentity(); err != nil {
		return err
	}
	if entered() {
		return closeDoorOnExec()
	}
	door, err := openDoor()
	if err != nil {
		return err
	}
	defer door.Close()
	if os.Geteuid() == 0 {
		return enterAsRoot(door)
	}
	return enterAsUser(door)
}

// learnIdentity replaces enteredAsUser by the identity of the namespace.
func learnIdentity() error {
	if os.Getenv(enteredEnv) != enteredAsUser {
		return nil
	}
	id, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	return os.Setenv(enteredEnv, id)
}

// entered compares identities, since a child may have inherited the variable
// and be elsewhere by now. It does so once, in Enter: /proc/self is the first
// thread's, and that may have gone into a Pod's network since, for good.
var entered = sync.OnceValue(func() bool {
	id, err := os.Readlink("/proc/self/ns/net")
	return err == nil && os.Getenv(enteredEnv) == id
})

// openDoor listens on the network that Enter leaves, so that a user's kubectl
// can reach the API server without entering.
func openDoor() (*os.File, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen outside: %w", err)
	}
	defer listener.Close()
	return listener.(*net.TCPListener).File()
}

// Door returns a listener on the loopback device of the network that Enter
// left, or nil when there is none. Whoever takes it closes it.
func Door() (net.Listener, error) {
	fd, err := strconv.Atoi(os.Getenv(doorEnv))
	if err != nil || !entered() {
		return nil, nil
	}
	file := os.NewFile(uintptr(fd), "door")
	defer file.Close()
	return net.FileListener(file)
}

// closeDoorOnExec keeps the door from the children of this process.
func closeDoorOnExec() error {
	if fd, err := strconv.Atoi(os.Getenv(doorEnv)); err == nil {
		syscall.CloseOnExec(fd)
	}
	return bringLoopbackUp()
}

func bringLoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	return nil
}

// enterAsRoot replaces the program on a thread that has left for a new network
// namespace; the whole process is then where that thread was.
func enterAsRoot(door *os.File) error {
	runtime.LockOSThread() // for good: this thread cannot serve others any more
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		if errors.Is(err, syscall.EPERM) {
			return nil // root without the right to make networks: a container
		}
		return fmt.Errorf("new network namespace: %w", err)
	}
	id, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, door.Fd(), syscall.F_SETFD, 0); errno != 0 {
		return fmt.Errorf("keep the door open: %w", errno)
	}
	env := append(os.Environ(), enteredEnv+"="+id, doorEnv+"="+strconv.Itoa(int(door.Fd())))
	return fmt.Errorf("run again inside: %w", syscall.Exec("/proc/self/exe", os.Args, env))
}

// enterAsUser runs the program again as a child in new user and network
// namespaces, and ends as the child ends. A process with threads, as every Go
// process is, cannot move itself into a user namespace.
func enterAsUser(door *os.File) error {
	runtime.LockOSThread()                                // the child's life hangs on this thread's
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // this process ends as it ends
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{door}
	// The child cannot be told its namespace's identity before it exists.
	cmd.Env = append(os.Environ(), enteredEnv+"="+enteredAsUser, doorEnv+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
		Setpgid:     true, // a Ctrl-C arrives once, forwarded below
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return nil // user namespaces are not allowed here
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit code says it all
		close(ended)
	}()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig) // it may have ended just now
		case <-ended:
			os.Exit(cmd.ProcessState.ExitCode())
		}
	}
}

// uidMapped tells whether a user exists in this process's user namespace: in
// one made by enterAsUser only root does.
func uidMapped(uid int64) bool {
	content, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		var inside, outside, size int64
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err == nil && inside <= uid && uid < inside+size {
			return true
		}
	}
	return false
}
