package localcluster

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Role is a process of the control plane, by name: Etcd, APIServer,
// ControllerManager, Scheduler or Kwok; nil for other names.
func (c *Cluster) Role(name string) *Process {
	for _, role := range c.roles {
		if role.Name() == name {
			return role
		}
	}
	return nil
}

// Config is for clients of tests: an administrator's, without request limit.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client knows Kubernetes' own kinds, and all others as unstructured.
func (c *Cluster) Client() client.Client { return c.client }

// Kubeconfig is the path of an administrator's kubeconfig. It works inside the
// cluster's network; see HostKubeconfig.
func (c *Cluster) Kubeconfig() string { return c.plane.kubeconfig("admin") }

// HostKubeconfig is the path of an administrator's kubeconfig that works in
// the network that Enter left; "" without Options.Door.
func (c *Cluster) HostKubeconfig() string {
	if c.door == nil {
		return ""
	}
	return c.plane.kubeconfig("host")
}

// Kubectl is the path of a kubectl that fits the cluster.
func (c *Cluster) Kubectl() string { return filepath.Join(c.plane.binDir, "kubectl") }

// BinDir holds the control plane's binaries and kubectl.
func (c *Cluster) BinDir() string { return c.plane.binDir }

// Address is the machine's own in the cluster's network: what listens there,
// a broker for example, is reached by all Pods. Without isolation it is
// 127.0.0.1.
func (c *Cluster) Address() string { return c.plane.host }

// RoleAddress is where a role of the control plane listens, by name, as in Role:
// "198.18.0.1:6443" for APIServer.
func (c *Cluster) RoleAddress(name string) string {
	ports := c.plane.ports
	port := map[string]int{
		Etcd: ports.etcd, APIServer: ports.apiServer, ControllerManager: ports.controllerManager, Scheduler: ports.scheduler, Kwok: ports.kwok,
	}[name]
	return net.JoinHostPort(c.Address(), strconv.Itoa(port))
}

// Isolated tells whether Pods have networks of their own.
func (c *Cluster) Isolated() bool { return c.network.isolated() }

// Dir holds the cluster's files; logs are in Dir()/logs.
func (c *Cluster) Dir() string { return c.dir.path }

func (c *Cluster) progress(format string, args ...any) {
	fmt.Fprintf(c.options.Progress, format+"\n", args...)
}
