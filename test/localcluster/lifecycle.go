package localcluster

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// preparationRetry is the wait before a Pod that could not be prepared
	// (a Secret is missing, say) is tried again.
	preparationRetry = time.Second
	// firstBackoff and lastBackoff bound the wait before a program that ended
	// by itself is started again: as a kubelet does, but in less time.
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// run is the life of the instance. It ends when the Pod is deleted or the
// kubelet stops.
func (i *Instance) run(ctx context.Context) {
	defer close(i.ended)
	defer i.closeSandbox()
	if i.prepareUntilDone(ctx) {
		i.runProgram(ctx)
	}
	if i.draining() {
		i.forgetPod(ctx)
	}
}

// prepareUntilDone makes network and files, trying again as long as the Pod is
// wanted. It returns false when it no longer is.
func (i *Instance) prepareUntilDone(ctx context.Context) bool {
	for {
		if i.draining() {
			return false
		}
		err := i.prepare(ctx)
		if err == nil {
			i.setProblem("")
			return true
		}
		i.setProblem(err.Error())
		i.reportStatus(ctx)
		_, _, _, changed := i.state()
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-time.After(preparationRetry):
		}
	}
}

func (i *Instance) prepare(ctx context.Context) error {
	if i.Address() == "" {
		box, err := i.kubelet.cluster.network.sandbox(i.Name())
		if err != nil {
			return err
		}
		i.change(func() { i.box = box })
	}
	files, err := newPodFiles(ctx, i)
	if err != nil {
		return err
	}
	i.change(func() {
		i.files = files
		if limit := i.MemoryLimit(); limit > 0 && i.kubelet.cluster.options.LimitMemory {
			i.memory = newMemoryGroup(i.Name(), limit)
		}
		i.process = newProcess(i.Name(), i.LogFile(), i.launch, func() (*exec.Cmd, error) {
			return files.command(ctx)
		})
	})
	return nil
}

// launch starts the container in its network and within its memory.
func (i *Instance) launch(cmd *exec.Cmd) error {
	if err := i.box.launch(cmd); err != nil || i.memory == nil {
		return err
	}
	return i.memory.add(cmd.Process.Pid)
}

func (i *Instance) closeSandbox() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.memory != nil {
		_ = i.memory.close() // an empty group holds nothing
	}
	if i.box != nil {
		_ = i.box.close() // the cluster's network ends with this process at the latest
	}
}

// runProgram starts the program again whenever it ends, unless it is held.
func (i *Instance) runProgram(ctx context.Context) {
	backoff := firstBackoff
	for first := true; ; first = false {
		if !i.waitUnheld(ctx) {
			return
		}
		began := time.Now()
		if err := i.process.Start(); err != nil {
			i.setProblem(err.Error())
		} else {
			i.setProblem("")
			if !first {
				i.countRestart()
			}
			if !i.supervise(ctx) {
				return
			}
			i.setProblem(fmt.Sprintf("ended: %v", i.process.Err()))
		}
		if time.Since(began) > lastBackoff {
			backoff = firstBackoff
		}
		i.reportStatus(ctx)
		if held, _, _, _ := i.state(); !held && !i.pauseFor(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

func (i *Instance) countRestart() {
	i.change(func() { i.restarts++ })
}

// waitUnheld returns false when the instance is no longer wanted.
func (i *Instance) waitUnheld(ctx context.Context) bool {
	for {
		held, drained, _, changed := i.state()
		if drained || ctx.Err() != nil {
			return false
		}
		if !held {
			return true
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// pauseFor returns false when the instance is no longer wanted.
func (i *Instance) pauseFor(ctx context.Context, pause time.Duration) bool {
	_, drained, _, changed := i.state()
	if drained {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-time.After(pause):
	}
	return true
}

// supervise probes the running program and keeps its files fresh. It returns
// true when the program has ended by itself, false when it was ended.
func (i *Instance) supervise(ctx context.Context) bool {
	watching, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { i.probe(watching) })
	helpers.Go(func() { i.files.keepFresh(watching) })
	defer i.setReady(ctx, false)
	defer helpers.Wait()
	defer cancel()
	i.reportStatus(ctx)
	for {
		_, drained, grace, changed := i.state()
		if drained {
			cancel()
			helpers.Wait()
			i.end(ctx, grace)
			return false
		}
		select {
		case <-ctx.Done():
			i.end(ctx, stopGrace)
			return false
		case <-i.process.Done():
			return !i.draining()
		case <-changed:
		}
	}
}

// end stops the program, allowing it the grace period unless the Pod's is cut
// short meanwhile.
func (i *Instance) end(ctx context.Context, grace time.Duration) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	_ = i.process.Resume() // a stalled program could not end
	_ = i.process.stop(limited)
}

func (i *Instance) setProblem(problem string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.problem = problem
}

func (i *Instance) setReady(ctx context.Context, ready bool) {
	i.mu.Lock()
	was := i.ready
	i.ready = ready
	i.mu.Unlock()
	if was == ready {
		return
	}
	i.reportStatus(ctx)
	i.kubelet.mu.Lock()
	i.kubelet.announce()
	i.kubelet.mu.Unlock()
}

// forgetPod takes the Pod out of the API, which only its kubelet may do.
func (i *Instance) forgetPod(ctx context.Context) {
	var now int64
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &i.uid}}
	for ctx.Err() == nil {
		err := i.kubelet.client.CoreV1().Pods(i.Namespace()).Delete(ctx, i.Name(), options)
		if err == nil || isGone(err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(preparationRetry):
		}
	}
}
