package node

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

const (
	// Name of the node.
	Name = "node"
	// PauseImage is made from package pause.
	PauseImage = "localhost/sluice-test/pause:test"
	// address is the machine's in the network that Enter makes: the first of
	// those that localcluster hands out.
	address = "198.18.0.1"
)

// config has what the programs read. NODE_FOLDER, NODE_CGROUP and
// NODE_KUBECONFIG stand for what differs between runs.
//
//go:embed config
var config embed.FS

// Node is a running node.
type Node struct {
	cluster *localcluster.Cluster
	running []*exec.Cmd
}

// Start makes the machine a node of the cluster, which must be bare, and returns
// when it is Ready. It gets its images from the archives. The node ends with
// Stop, or with the process.
func Start(ctx context.Context, cluster *localcluster.Cluster, archives ...string) (*Node, error) {
	if got := cluster.Address(); got != address {
		return nil, fmt.Errorf("the cluster is at %s, not at %s: was Enter called, and is this the only cluster?", got, address)
	}
	n := &Node{cluster: cluster}
	if err := n.start(ctx, archives); err != nil {
		return nil, errors.Join(err, n.logs(), n.Stop()) //nolint:contextcheck // what was started ends, whatever became of ctx
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, archives []string) error {
	if err := n.writeConfig(); err != nil {
		return err
	}
	if err := n.run("containerd", "containerd", "--config", configFile("containerd.toml")); err != nil {
		return err
	}
	if err := waitFor(ctx, "containerd", func(ctx context.Context) error {
		_, err := n.Ctr(ctx, "version")
		return err
	}); err != nil {
		return err
	}
	if err := n.Import(ctx, archives...); err != nil {
		return err
	}
	if err := n.publishAPIServer(ctx); err != nil {
		return err
	}
	programs := filepath.Join(filepath.Dir(n.cluster.BinDir()), "node")
	if err := n.run("kube-proxy", filepath.Join(programs, "kube-proxy"), "--config="+configFile("kube-proxy.yaml")); err != nil {
		return err
	}
	if err := n.run("kubelet", filepath.Join(programs, "kubelet"), "--config="+configFile("kubelet.yaml"),
		"--kubeconfig="+n.cluster.Kubeconfig(), "--hostname-override="+Name, "--node-ip="+address); err != nil {
		return err
	}
	return waitFor(ctx, "the node", n.ready)
}

func configFile(name string) string { return filepath.Join(Folder(), "config", name) }

func (n *Node) writeConfig() error {
	if err := os.MkdirAll(configFile("net.d"), 0o755); err != nil {
		return err
	}
	values := strings.NewReplacer("NODE_FOLDER", Folder(), "NODE_CGROUP", filepath.Base(Folder()), "NODE_KUBECONFIG", n.cluster.Kubeconfig())
	for _, name := range []string{"containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "net.d/10-node.conflist", "resolv.conf"} {
		text, err := config.ReadFile("config/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(configFile(name), []byte(values.Replace(string(text))), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run starts a program that runs until Stop.
func (n *Node) run(name, program string, args ...string) error {
	log, err := os.Create(n.log(name))
	if err != nil {
		return err
	}
	defer log.Close()                     // the child has its own
	cmd := exec.Command(program, args...) //nolint:noctx // runs until Stop
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	n.running = append(n.running, cmd)
	return nil
}

func (n *Node) log(name string) string { return filepath.Join(n.cluster.Dir(), "logs", name+".log") }

// Ctr runs containerd's own client, in the namespace of the kubelet's images
// and containers.
func (n *Node) Ctr(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"--namespace", "k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Import gives the node images of OCI archives, as docs/install.md has it.
func (n *Node) Import(ctx context.Context, archives ...string) error {
	// Each unpacks on one core.
	results, cores := make(chan error, len(archives)), make(chan struct{}, 2)
	for _, archive := range archives {
		go func() {
			cores <- struct{}{}
			_, err := n.Ctr(ctx, "images", "import", archive)
			<-cores
			results <- err
		}()
	}
	var errs []error
	for range archives {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// publishAPIServer names the endpoint of the Service kubernetes, which API
// servers that listen on one machine alone do not do.
func (n *Node) publishAPIServer(ctx context.Context) error {
	name, port, protocol := "https", int32(6443), corev1.ProtocolTCP
	return n.cluster.Client().Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	})
}

func (n *Node) ready(ctx context.Context) error {
	var node corev1.Node
	if err := n.cluster.Client().Get(ctx, client.ObjectKey{Name: Name}, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0 {
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready: %v, taints %v", Name, node.Status.Conditions, node.Spec.Taints)
}

// Stop ends all containers with the programs, and takes their mounts away.
func (n *Node) Stop() error {
	for _, cmd := range n.running {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	return errors.Join(killContainers(), unmountBelow(Folder()))
}

// killContainers ends what containerd started. Its shims live on without it.
func killContainers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return waitFor(ctx, "the end of containers", func(context.Context) error {
		commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		left := 0
		for _, file := range commands {
			text, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(text), "containerd-shim") {
				continue // gone already, or another
			}
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/cmdline", &pid); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				left++
			}
		}
		if left > 0 {
			return fmt.Errorf("%d shims", left)
		}
		return nil
	})
}

// unmountBelow takes away the mounts of containers and volumes, the last first;
// some go with others.
func unmountBelow(folder string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		point := strings.Fields(line)[4]
		if strings.HasPrefix(point, folder+"/") || strings.HasPrefix(point, "/run/") || strings.HasPrefix(point, "/var/lib/kubelet/") {
			points = append(points, point)
		}
	}
	var errs []error
	for i := len(points) - 1; i >= 0; i-- {
		if err := syscall.Unmount(points[i], syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", points[i], err))
		}
	}
	return errors.Join(errs...)
}

// logs are the ends of what the programs said.
func (n *Node) logs() error {
	var said strings.Builder
	for _, name := range []string{"containerd", "kube-proxy", "kubelet"} {
		text, err := os.ReadFile(n.log(name))
		if err != nil {
			continue // not started
		}
		fmt.Fprintf(&said, "%s:\n%s\n", name, text[max(0, len(text)-4000):])
	}
	return errors.New(said.String())
}

// waitFor asks until there is no error.
func waitFor(ctx context.Context, what string, ask func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-tick.C:
		}
	}
}
