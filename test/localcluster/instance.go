package localcluster

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Instance is one Pod of ours, running as a process. It is driven by the Pod in
// the API: deleting the Pod drains it, and its ReplicaSet then makes another.
type Instance struct {
	kubelet *kubelet
	pod     *corev1.Pod // as first seen; what runs never changes in a Pod
	uid     types.UID

	reporting sync.Mutex // one report at a time

	mu       sync.Mutex
	wake     chan struct{} // closed and renewed when something below changed
	box      sandbox
	memory   *memoryGroup // nil without Options.LimitMemory, or where there can be none
	process  *Process
	held     bool // by Kill: not started again before Start
	drained  bool // the Pod is being deleted
	grace    time.Duration
	ready    bool
	restarts int
	problem  string // why it does not run
	ended    chan struct{}
	files    *podFiles
}

func newInstance(k *kubelet, pod *corev1.Pod) *Instance {
	return &Instance{
		kubelet: k, pod: pod.DeepCopy(), uid: pod.UID,
		wake: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Name is the Pod's name.
func (i *Instance) Name() string { return i.pod.Name }

// Namespace is the Pod's.
func (i *Instance) Namespace() string { return i.pod.Namespace }

// Component is the name of the program, as in Cluster.Instances.
func (i *Instance) Component() string { return component(i.pod.Spec.Containers[0].Image) }

// User is the name under which the instance must appear at the API server.
func (i *Instance) User() string {
	return "system:serviceaccount:" + i.pod.Namespace + ":" + i.pod.Spec.ServiceAccountName
}

// Address is the Pod's IP; "" before it has one.
func (i *Instance) Address() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.box == nil {
		return ""
	}
	return i.box.address().String()
}

// Ready tells whether the readiness probe succeeds.
func (i *Instance) Ready() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ready
}

// Restarts counts how often the program ended by itself and was started again.
func (i *Instance) Restarts() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.restarts
}

// Problem says why the instance does not run; "" when it does.
func (i *Instance) Problem() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.problem
}

// PID is 0 while the program does not run.
func (i *Instance) PID() int {
	if process := i.current(); process != nil {
		return process.PID()
	}
	return 0
}

// MemoryLimit is the container's in the manifest, in bytes; 0 for none.
func (i *Instance) MemoryLimit() int64 {
	return i.pod.Spec.Containers[0].Resources.Limits.Memory().Value()
}

// MemoryLimited tells whether a cgroup holds the program to that.
func (i *Instance) MemoryLimited() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.memory != nil
}

// LogFile holds what the program wrote, over all its restarts.
func (i *Instance) LogFile() string {
	return i.kubelet.cluster.dir.join("logs", i.Name()+".log")
}

// LogTail returns the last lines of the log.
func (i *Instance) LogTail(lines int) string {
	return newProcess(i.Name(), i.LogFile(), nil, nil).LogTail(lines)
}

// Kill ends the program without warning and keeps it down until Start. The Pod
// stays, not ready.
func (i *Instance) Kill() error {
	i.change(func() { i.held = true })
	if process := i.current(); process != nil {
		return process.Kill()
	}
	return nil
}

// Crash ends the program without warning; it is started again at once, in the
// same Pod.
func (i *Instance) Crash() error {
	if process := i.current(); process != nil {
		return process.Kill()
	}
	return nil
}

// Start ends what Kill began.
func (i *Instance) Start() { i.change(func() { i.held = false }) }

// Stall stops the program where it stands: it accepts connections and answers
// nothing. Its readiness probe fails meanwhile; its liveness probe is not
// looked at. Resume lets it go on.
func (i *Instance) Stall() error { return i.onProcess((*Process).Stall) }

// Resume ends what Stall began.
func (i *Instance) Resume() error { return i.onProcess((*Process).Resume) }

func (i *Instance) onProcess(do func(*Process) error) error {
	process := i.current()
	if process == nil {
		return fmt.Errorf("%s does not run: %s", i.Name(), i.Problem())
	}
	return do(process)
}

// Cut drops all packets to and from the Pod, in both directions and silently.
// The node's probes still reach it, so it stays Ready and its address stays
// published: the hard case. Heal lets packets pass again.
func (i *Instance) Cut() error { return i.onSandbox(sandbox.cut) }

// Heal ends what Cut began.
func (i *Instance) Heal() error { return i.onSandbox(sandbox.heal) }

func (i *Instance) onSandbox(do func(sandbox) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.box == nil {
		return fmt.Errorf("%s has no network yet", i.Name())
	}
	return do(i.box)
}

// PortForward listens on a free address of the cluster and carries connections
// to a port of the Pod's loopback device, named as in the manifest: what
// kubectl port-forward does. stop ends it.
func (i *Instance) PortForward(ctx context.Context, port string) (address string, stop func() error, err error) {
	number, err := containerPort(&i.pod.Spec.Containers[0], intstr.FromString(port))
	if err != nil {
		return "", nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(i.kubelet.cluster.Address(), "0"))
	if err != nil {
		return "", nil, err
	}
	inside := strconv.Itoa(int(number))
	d := openDoorFrom(ctx, listener, func(ctx context.Context) (net.Conn, error) { return i.dialInside(ctx, inside) })
	return listener.Addr().String(), d.close, nil
}

// Terminate deletes the Pod and waits until it is gone: its address is marked
// terminating, the program gets SIGTERM and the Pod's grace period, and the
// ReplicaSet makes another Pod at once, as in a rollout or a node's drain.
func (i *Instance) Terminate(ctx context.Context) error {
	pods := i.kubelet.client.CoreV1().Pods(i.Namespace())
	err := pods.Delete(ctx, i.Name(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &i.uid}})
	if err != nil {
		return err
	}
	select {
	case <-i.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s is still there: %w", i.Name(), ctx.Err())
	}
}

func (i *Instance) current() *Process {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.process
}

// drain asks for the end, within grace. A later, shorter grace counts.
func (i *Instance) drain(grace time.Duration) {
	i.change(func() {
		if !i.drained || grace < i.grace {
			i.drained, i.grace = true, grace
		}
	})
}

func (i *Instance) draining() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.drained
}

// change applies f and wakes run.
func (i *Instance) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
	close(i.wake)
	i.wake = make(chan struct{})
}

// state returns what run decides on, and a channel closed when it changes.
func (i *Instance) state() (held, drained bool, grace time.Duration, changed <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.held, i.drained, i.grace, i.wake
}
