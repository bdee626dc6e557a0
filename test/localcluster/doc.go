// Package localcluster runs a real Kubernetes control plane, and the manifests
// of deploy/ on it, as processes of this machine. It needs no container
// runtime and pulls nothing.
//
//	TestMain, main   Enter        moves the process into a network of its own
//	Build            the control plane's binaries, from Go modules
//	Start            etcd, kube-apiserver, kube-controller-manager,
//	                 kube-scheduler and kwok, each its own process
//	Cluster.Install  applies manifests; Pods whose image is one of our
//	                 components become processes, all others are kwok's
//	Instance         one such process: kill, stall, cut, drain, read its log
//	CutBetween       parts two of all these, of which both go on
//	Cluster.Audit    who asked the API server for what
//
// The process that calls Start plays the kubelet of one node. The API server
// is told about its Pods as by any kubelet, so ReplicaSets, Services,
// EndpointSlices, readiness, draining and disruption budgets are Kubernetes'
// own. On Linux a Pod is a network namespace with its own address, a root
// directory that holds the binary and the Pod's volumes alone, the Pod's user,
// and the token of its ServiceAccount: what works there works in a container.
//
// Without root and without user namespaces there is no network to be had; then
// every Deployment has one instance on 127.0.0.1, reached through ExternalName
// Services, and instances can be neither cut nor told apart in the audit log
// by address.
//
// What libraries do, they do: kwok plays all Pods that are none of ours,
// controller-runtime and client-go talk to the API server, cri-streaming forwards
// ports of Pods as a kubelet does, kustomize renders.
// What is here has none:
//
//	build, control plane   envtest starts an API server and etcd that somebody
//	                       downloaded, without controllers; an HPA needs those
//	kubelet, lifecycle,    the kubelet itself needs a container runtime and
//	probe, volume, token   images; kwok runs nothing
//	network, cut, door,    network plugins need that runtime, too, and cut
//	port mapping           nothing
//	audit                  what the API server wrote, read by who asked
package localcluster
