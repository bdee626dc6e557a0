package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// processNode is the node whose Pods are processes.
	processNode = "processes"
	// leaseNamespace and leaseSeconds are those of any kubelet.
	leaseNamespace = "kube-node-lease"
	leaseSeconds   = 40
	leaseRenewal   = 10 * time.Second
)

// kubelet runs the Pods bound to processNode as processes.
type kubelet struct {
	cluster    *Cluster
	httpClient *http.Client
	client     *kubernetes.Clientset
	forwarder  *forwarder
	cancel     context.CancelFunc
	work       sync.WaitGroup

	mu        sync.Mutex
	instances map[types.UID]*Instance
	past      []*Instance // ended ones, for the audit log
	changed   chan struct{}
}

// startKubelet registers the node and runs its Pods until stop.
func startKubelet(ctx context.Context, c *Cluster) (*kubelet, error) {
	config, err := c.configFor("kubelet")
	if err != nil {
		return nil, err
	}
	k := &kubelet{cluster: c, instances: map[types.UID]*Instance{}, changed: make(chan struct{})}
	if k.httpClient, err = rest.HTTPClientFor(config); err != nil {
		return nil, err
	}
	if k.client, err = kubernetes.NewForConfigAndClient(config, k.httpClient); err != nil {
		return nil, err
	}
	if k.forwarder, err = startForwarder(ctx, k); err != nil {
		return nil, err
	}
	if err := k.register(ctx); err != nil {
		return nil, errors.Join(err, k.forwarder.close())
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends with stop, not with the start
	k.cancel = cancel
	k.work.Go(func() { k.renewLease(running) })
	if err := k.watchPods(ctx, running); err != nil {
		return nil, errors.Join(err, k.stop())
	}
	return k, nil
}

// register creates the node. Its taint keeps away what was not put here by
// name.
func (k *kubelet) register(ctx context.Context) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        processNode,
			Annotations: map[string]string{fakeNode: "no"},
			Labels:      map[string]string{corev1.LabelHostname: processNode, corev1.LabelOSStable: "linux"},
		},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "sluice.dev/processes", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Capacity: roomy(), Allocatable: roomy(),
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: k.cluster.Address()}},
			Conditions: readyNow(),
			// Where the API server asks for ports of Pods.
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: k.forwarder.port}},
		},
	}
	created, err := k.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: processNode, Namespace: leaseNamespace,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: processNode, UID: created.UID}},
		},
		Spec: leaseSpec(),
	}
	// The namespace is made by the API server itself, soon after it is ready.
	return waitFor(ctx, "namespace "+leaseNamespace, func(ctx context.Context) (bool, error) {
		_, err := k.client.CoordinationV1().Leases(leaseNamespace).Create(ctx, lease, metav1.CreateOptions{})
		return err == nil, err
	})
}

// readyNow is what a kubelet says of a node that is well.
func readyNow() []corev1.NodeCondition {
	now := metav1.Now()
	return []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Ready", LastHeartbeatTime: now, LastTransitionTime: now,
	}}
}

func leaseSpec() coordinationv1.LeaseSpec {
	holder, duration, now := processNode, int32(leaseSeconds), metav1.NowMicro()
	return coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &duration, RenewTime: &now}
}

// renewLease keeps the node Ready, and makes it so again when an API server that
// was away for long made others believe that it was gone. What fails is made good
// by the next renewal.
func (k *kubelet) renewLease(ctx context.Context) {
	tick := time.NewTicker(leaseRenewal)
	defer tick.Stop()
	leases, nodes := k.client.CoordinationV1().Leases(leaseNamespace), k.client.CoreV1().Nodes()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if lease, err := leases.Get(ctx, processNode, metav1.GetOptions{}); err == nil {
			lease.Spec = leaseSpec()
			_, _ = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if node, err := nodes.Get(ctx, processNode, metav1.GetOptions{}); err == nil && !nodeReady(node) {
			node.Status.Conditions = readyNow()
			_, _ = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		}
	}
}

// watchPods starts an Instance for each Pod of the node and tells it what
// becomes of the Pod.
func (k *kubelet) watchPods(ctx, running context.Context) error {
	ofNode := func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", processNode).String()
	}
	factory := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithTweakListOptions(ofNode))
	pods := factory.Core().V1().Pods().Informer()
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { k.observe(running, object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { k.observe(running, object.(*corev1.Pod)) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			k.gone(object.(*corev1.Pod).UID)
		},
	}); err != nil {
		return err
	}
	factory.Start(running.Done())
	k.work.Go(func() {
		<-running.Done()
		factory.Shutdown()
	})
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return fmt.Errorf("watch Pods: %w", ctx.Err())
	}
	return nil
}

func (k *kubelet) observe(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	instance := k.instances[pod.UID]
	if instance == nil {
		if pod.DeletionTimestamp != nil && pod.Status.Phase == corev1.PodFailed {
			return
		}
		instance = newInstance(k, pod)
		k.instances[pod.UID] = instance
		k.work.Go(func() {
			instance.run(ctx)
			k.ended(instance)
		})
		k.announce()
	}
	if instance.Ready() != podReady(pod) {
		// Either our report is on its way, or somebody who took the node for
		// gone has said otherwise.
		k.work.Go(func() { instance.reportStatus(ctx) })
	}
	if pod.DeletionTimestamp != nil {
		instance.drain(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	}
}

// gone is called when the Pod has left the API, by force.
func (k *kubelet) gone(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if instance := k.instances[uid]; instance != nil {
		instance.drain(0)
	}
}

func (k *kubelet) ended(instance *Instance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.instances, instance.uid)
	k.past = append(k.past, instance)
	k.announce()
}

// announce wakes those that wait for instances; mu is held.
func (k *kubelet) announce() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// stop ends all instances and everything that works for them. The Pods stay in
// the API: the cluster ends anyway.
func (k *kubelet) stop() error {
	k.cancel()
	err := k.forwarder.close()
	k.work.Wait()
	k.httpClient.CloseIdleConnections()
	return err
}

// component is the program of an image: its last path element, without tag and
// digest. The image localhost/sluice/scaler-kafka:v1 runs <BinDir>/scaler-kafka.
func component(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

// Instances returns the running instances of a component ("scaler-kafka"), by
// Pod name; of all components when name is "". Instances whose Pod is being
// deleted are not among them.
func (c *Cluster) Instances(name string) []*Instance {
	found, _ := c.kubelet.list(name)
	return found
}

// list also returns a channel that is closed at the next change.
func (k *kubelet) list(name string) ([]*Instance, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []*Instance
	for _, instance := range k.instances {
		if (name == "" || instance.Component() == name) && !instance.draining() {
			found = append(found, instance)
		}
	}
	slices.SortFunc(found, func(a, b *Instance) int { return strings.Compare(a.Name(), b.Name()) })
	return found, k.changed
}

// everyone returns the instances of now and before.
func (k *kubelet) everyone() []*Instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := slices.Clone(k.past)
	for _, instance := range k.instances {
		all = append(all, instance)
	}
	return all
}
