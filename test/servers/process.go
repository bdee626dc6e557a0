package servers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// gracePeriod is how long a process may take to end after SIGTERM.
const gracePeriod = 15 * time.Second

// errorTail is how much of the log, in bytes, an error of a start shows.
const errorTail = 4 << 10

// process is a running child in a process group of its own.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and err is set
	err  error
}

// startProcess starts cmd with its output going to log. The child dies with
// this process.
func startProcess(cmd *exec.Cmd, log *logFile) (*process, error) {
	cmd.Stdout, cmd.Stderr = log, log
	attributes := childAttributes()
	if cmd.SysProcAttr != nil {
		attributes.Credential = cmd.SysProcAttr.Credential
	}
	cmd.SysProcAttr = attributes
	// A grandchild may hold the output open for longer than the child lives.
	cmd.WaitDelay = time.Second

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.own(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// own starts the process and waits for it on one thread. Linux kills a child
// when the thread that started it ends, not the process, so that thread must
// live as long as the child.
func (p *process) own(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// signal reaches the whole process group; a group that is gone is no error.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	err := syscall.Kill(-p.cmd.Process.Pid, s)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to %s: %w", s, filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// freeze stops the process and waits until nothing of it runs any more, for a
// few seconds at most.
func (p *process) freeze() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ticker, late := time.NewTicker(5*time.Millisecond), time.After(5*time.Second)
	defer ticker.Stop()
	for !frozen(p.cmd.Process.Pid) {
		select {
		case <-ticker.C:
		case <-p.done:
			return nil
		case <-late:
			return nil
		}
	}
	return nil
}

// kill ends the process at once, stopped or not, and waits for its end.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	if err == nil {
		<-p.done
	}
	return err
}

// terminate asks the process to end and kills it when it takes too long.
func (p *process) terminate() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(gracePeriod)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return p.kill()
	}
}

// run starts cmd and waits until it ends. The error shows the end of the log,
// and no arguments: they may hold passwords.
func run(cmd *exec.Cmd, log *logFile) error {
	p, err := startProcess(cmd, log)
	if err != nil {
		return err
	}
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), p.err, log.tail(errorTail))
	}
	return nil
}

// logFile is the output of a server. It survives the server's restarts.
type logFile struct {
	path string

	mu      sync.Mutex
	file    *os.File
	partial []byte            // the last, unfinished line
	marks   map[string]func() // called once, when a line holds the key
}

func createLog(path string) (*logFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, file: f, marks: map[string]func(){}}, nil
}

// Write appends to the file and looks for marks in the lines it completes.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.marks) > 0 {
		l.scan(b)
	}
	return l.file.Write(b)
}

func (l *logFile) scan(b []byte) {
	l.partial = append(l.partial, b...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return
		}
		for mark, call := range l.marks {
			if bytes.Contains(line, []byte(mark)) {
				delete(l.marks, mark)
				call()
			}
		}
		l.partial = rest
	}
}

// saw returns a channel that is closed at the next line holding mark.
func (l *logFile) saw(mark string) <-chan struct{} {
	seen := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = nil
	l.marks[mark] = func() { close(seen) }
	return seen
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// tail returns the last lines of the log, at most size bytes.
func (l *logFile) tail(size int64) string {
	f, err := os.Open(l.path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-size), io.SeekStart)
	}
	b, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
