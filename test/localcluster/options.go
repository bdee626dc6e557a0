package localcluster

import (
	"io"
	"net"
	"path/filepath"
)

// Options of a cluster. The zero value is a cluster for tests.
type Options struct {
	// Repo is the root of the repository: the control plane is in bin/cluster
	// below it, our components in bin. Default: found upwards from the
	// working directory.
	Repo string
	// BinDir holds the binaries of our components. Default: <Repo>/bin.
	BinDir string
	// Parent is where the cluster's folder is made. Default: the system's
	// temporary folder.
	Parent string
	// Keep leaves the folder, and so the logs, after Stop.
	Keep bool
	// Nodes is the number of nodes that kwok plays. Default 2.
	Nodes int
	// Bare leaves out all nodes, kwok with them: whoever starts the cluster
	// brings nodes, and runs what they run (see package node).
	Bare bool
	// ControllerQPS raises the request limit of kube-controller-manager, in
	// requests per second, for benchmarks. Default: Kubernetes' own (20).
	ControllerQPS int
	// GCPercent is Go's GOGC for the control plane, for benchmarks: it has a
	// machine of its own elsewhere, and shares a few cores with everything else
	// here, where memory is cheaper than time. Default: Go's own (100).
	GCPercent int
	// NoAudit switches the audit log off, for benchmarks.
	NoAudit bool
	// LimitMemory ends a Pod's program when it takes more memory than its
	// container's limit, as a kubelet does, where this machine has cgroups.
	LimitMemory bool
	// Door is a listener of another network (see the function Door); what
	// connects to it reaches the API server. The cluster closes it.
	Door net.Listener
	// Shared keeps the cluster on the machine's loopback device even where it
	// could have a network of its own: one instance of each Deployment, with
	// ports of its own, and nothing can be cut.
	Shared bool
	// Progress takes one line for each step of the start. Default: nothing.
	Progress io.Writer
}

func (o Options) withDefaults() (Options, error) {
	if o.Repo == "" {
		repo, err := FindRepo(".")
		if err != nil {
			return o, err
		}
		o.Repo = repo
	}
	if o.BinDir == "" {
		o.BinDir = filepath.Join(o.Repo, "bin")
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o, nil
}

func (o Options) newNetwork() (network, error) {
	if o.Shared {
		return newSharedNetwork(), nil
	}
	return newNetwork()
}
