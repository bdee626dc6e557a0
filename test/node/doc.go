// Package node runs a real node beside the control plane of package
// localcluster: containerd and runc of this machine, kubelet and kube-proxy of
// the cluster's own version. Its tests do on it what users do with a release:
// install, scale, upgrade, uninstall. Nothing is pulled.
//
//	Enter   moves the process into namespaces of its own
//	Start   containerd, kube-proxy and kubelet; Import gives them images
//
// What local clusters leave out happens here: images unpack and start as their
// user, with the kernel's limits, seccomp profile and read-only root that the
// manifests ask for; tokens, volumes and probes are the kubelet's; the API
// server's address is a ClusterIP. Pods are networks of their own (plugin ptp),
// Services go by nftables. There is no DNS, since what we ship finds its own
// parts by EndpointSlices, and no NetworkPolicy is enforced: the policies are
// accepted and stored.
//
// It needs Linux, root and what install.sh installs; install.sh also tells
// where a node cannot be had.
//
// All processes are in one PID namespace, all mounts in one mount namespace and
// all devices in one network namespace. The kernel ends them with the first
// process, however that ends; folder and cgroups are removed by the process
// that called Enter, or by the next that does.
package node
