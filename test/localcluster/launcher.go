package localcluster

import (
	"os/exec"
	"runtime"
)

// launcher starts processes from one thread that lives as long as they do.
// The kernel's "signal the child when its parent dies" means the parent's
// thread, and Go ends threads as it likes unless one is held.
type launcher struct {
	calls chan func()
	ended chan struct{}
}

func newLauncher() *launcher {
	l := &launcher{calls: make(chan func()), ended: make(chan struct{})}
	go l.serve()
	return l
}

// serve ends with close. It never unlocks its thread, which ends with it.
func (l *launcher) serve() {
	defer close(l.ended)
	runtime.LockOSThread()
	for call := range l.calls {
		call()
	}
}

// do runs f on the launcher's thread.
func (l *launcher) do(f func() error) error {
	result := make(chan error, 1)
	l.calls <- func() { result <- f() }
	return <-result
}

// start runs a command that dies with us, in a process group of its own so
// that a Ctrl-C in the terminal reaches us alone and we end things in order.
func (l *launcher) start(cmd *exec.Cmd) error {
	dieWithParent(cmd)
	return l.do(cmd.Start)
}

// close ends the thread. Processes that still run die.
func (l *launcher) close() {
	close(l.calls)
	<-l.ended
}
