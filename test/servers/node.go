package servers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds a start whose context has no deadline of its own. It is
// generous: a busy machine is slow, and a dead process is noticed at once.
const startTimeout = 2 * time.Minute

// Node is one server process that can be ended and started again on the same
// ports and data. Its methods may be called from any goroutine.
type Node struct {
	name    string
	log     *logFile
	command func() *exec.Cmd
	// mark is a log line of a server that has started; empty if there is none.
	mark string
	// probe succeeds when the server answers a request.
	probe func(context.Context) error

	mu      sync.Mutex
	process *process // nil before the first start
}

// Restart starts the node again, with its ports and its data, and returns when
// it answers. A node that still runs is killed first.
func (n *Node) Restart(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	if n.process != nil {
		if err := n.process.kill(); err != nil {
			return err
		}
	}
	started := n.started()
	p, err := startProcess(n.command(), n.log)
	if err != nil {
		return err
	}
	n.process = p
	if err := n.ready(ctx, p, started); err != nil {
		return errors.Join(fmt.Errorf("%w\n%s", err, n.log.tail(errorTail)), p.kill())
	}
	return nil
}

// started returns a channel that is closed when the log says so.
func (n *Node) started() <-chan struct{} {
	if n.mark == "" {
		now := make(chan struct{})
		close(now)
		return now
	}
	return n.log.saw(n.mark)
}

func (n *Node) ready(ctx context.Context, p *process, started <-chan struct{}) error {
	select {
	case <-started:
	case <-p.done:
		return fmt.Errorf("%s: ended while starting: %w", n.name, p.ended())
	case <-ctx.Done():
		return fmt.Errorf("%s: did not start: %w", n.name, ctx.Err())
	}
	return until(ctx, p, n.name, n.probe)
}

// Kill ends the node at once, as a power cut does, and waits for its end.
func (n *Node) Kill() error {
	return n.with(func(p *process) error { return p.kill() })
}

// Shutdown lets the node end in good order and waits for its end. A stopped
// node, or one that takes longer than 15 seconds, is killed.
func (n *Node) Shutdown() error {
	return n.with(func(p *process) error { return p.terminate() })
}

// Stop freezes the node: its ports still accept connections, as the kernel
// does that, but nothing is ever answered. Continue wakes it.
func (n *Node) Stop() error {
	return n.with(func(p *process) error { return p.freeze() })
}

// Continue wakes a node that Stop froze.
func (n *Node) Continue() error {
	return n.with(func(p *process) error { return p.signal(syscall.SIGCONT) })
}

// Running tells whether the process is there, frozen or not.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return false
	}
	select {
	case <-n.process.done:
		return false
	default:
		return true
	}
}

// LogFile is the path of the node's output.
func (n *Node) LogFile() string { return n.log.path }

func (n *Node) with(do func(*process) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return nil
	}
	return do(n.process)
}

// each calls do for all nodes at the same time and joins their errors. Brokers
// of one cluster need each other to become ready.
func each(nodes []*Node, do func(*Node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = do(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
