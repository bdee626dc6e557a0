package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// Process is one program that the cluster runs: a role of the control plane,
// or the container of an Instance. It can be started again after it ended.
// All methods may be called from any goroutine.
type Process struct {
	name    string
	logFile string
	command func() (*exec.Cmd, error) // a fresh command for each start
	launch  launchFunc

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the current run has ended
	err  error         // how the last run ended
}

// launchFunc starts a command where it belongs (its network) and sees to it
// that it dies with us.
type launchFunc func(*exec.Cmd) error

// errRunning is returned by Start while the process runs.
var errRunning = errors.New("already running")

func newProcess(name, logFile string, launch launchFunc, command func() (*exec.Cmd, error)) *Process {
	return &Process{name: name, logFile: logFile, launch: launch, command: command}
}

// Name is the role or the Pod.
func (p *Process) Name() string { return p.name }

// Start runs the process. It returns once the process exists, not when it is
// ready.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s: %w", p.name, errRunning)
	}
	cmd, err := p.command()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer log.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := p.launch(cmd); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go p.wait(cmd, p.done)
	return nil
}

// wait belongs to Start and ends with the process.
func (p *Process) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(done)
}

// running must be called with mu held.
func (p *Process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the current run has ended; nil before the first Start.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Err tells how the last run ended; nil while none has, or for exit code 0.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// PID is 0 while the process does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the process without warning and waits for its end.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if done := p.Done(); done != nil {
		<-done
	}
	return nil
}

// Stall stops the process where it stands: its sockets stay open and accept,
// but nothing answers. Resume lets it go on.
func (p *Process) Stall() error { return p.signal(syscall.SIGSTOP) }

// Resume ends what Stall began.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// stop asks the process to end and kills it when ctx is over first.
func (p *Process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	done := p.Done()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return p.Kill()
	}
}

// signal does nothing to a process that does not run.
func (p *Process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %s: %w", p.name, sig, err)
	}
	return nil
}

// tailBytes bounds what LogTail reads.
const tailBytes = 64 << 10

// LogTail returns the last lines of the log, for a failure's message. A log
// that cannot be read is said in its place.
func (p *Process) LogTail(lines int) string {
	file, err := os.Open(p.logFile)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
