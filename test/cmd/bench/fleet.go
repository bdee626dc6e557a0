package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

const (
	namespace  = "bench"
	perReplica = 5 // messages that a replica is for
	// cooldown is short so that one run measures every object more than once.
	cooldown = 5
)

var scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}

func objectName(i int) string { return "worker-" + strconv.Itoa(i) }

// fleet is all objects, as two watches show them.
type fleet struct {
	options
	broker    *broker
	clientset *kubernetes.Clientset
	dynamic   dynamic.Interface
	stop      context.CancelFunc
	watches   []interface{ Shutdown() }

	mu      sync.Mutex
	changed chan struct{} // closed and renewed at each event
	seen    map[string]*seen
}

// seen is what the watches showed of one object.
type seen struct {
	synced      bool // its ReplicaSet exists
	ready       bool
	replicas    int32
	settled     bool // its Pods are all there, ready, and no others
	metric      string
	activations string    // the last one in the status
	activatedAt time.Time // when that arrived
	history     []step
}

// step is a change of spec.replicas.
type step struct {
	to int32
	at time.Time
}

func newFleet(ctx context.Context, cluster *localcluster.Cluster, broker *broker, o options) (*fleet, error) {
	clientset, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &fleet{
		options: o, broker: broker, clientset: clientset, dynamic: dyn, stop: stop,
		changed: make(chan struct{}), seen: map[string]*seen{},
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := clientset.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		stop()
		return nil, err
	}
	typed := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithNamespace(namespace))
	untyped := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, namespace, nil)
	f.watches = []interface{ Shutdown() }{typed, untyped}
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		see      func(any)
	}{
		{typed.Apps().V1().Deployments().Informer(), f.seeDeployment},
		{untyped.ForResource(scaledObjects).Informer(), f.seeScaledObject},
	} {
		if _, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: w.see, UpdateFunc: func(_, now any) { w.see(now) },
		}); err != nil {
			f.close()
			return nil, err
		}
	}
	typed.Start(running.Done())
	untyped.Start(running.Done())
	typed.WaitForCacheSync(ctx.Done())
	untyped.WaitForCacheSync(ctx.Done())
	return f, ctx.Err()
}

func (f *fleet) close() {
	f.stop()
	for _, w := range f.watches {
		w.Shutdown()
	}
}

func (f *fleet) seeDeployment(o any) {
	if d, ok := o.(*appsv1.Deployment); ok {
		f.see(d.Name, func(s *seen) {
			s.synced = d.Status.ObservedGeneration > 0
			s.settled = d.Status.ObservedGeneration == d.Generation &&
				d.Status.Replicas == *d.Spec.Replicas && d.Status.ReadyReplicas == *d.Spec.Replicas
			if now := *d.Spec.Replicas; now != s.replicas {
				s.replicas = now
				s.history = append(s.history, step{now, time.Now()})
			}
		})
	}
}

func (f *fleet) seeScaledObject(o any) {
	so, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	f.see(so.GetName(), func(s *seen) {
		s.ready = condition(so, "Ready") == "True"
		if names, _, _ := unstructured.NestedStringSlice(so.Object, "status", "externalMetricNames"); len(names) > 0 {
			s.metric = names[0]
		}
		activation, _, _ := unstructured.NestedMap(so.Object, "status", "activation")
		if text := fmt.Sprint(activation); len(activation) > 0 && text != s.activations {
			s.activations, s.activatedAt = text, time.Now()
		}
	})
}

func condition(so *unstructured.Unstructured, conditionType string) string {
	conditions, _, _ := unstructured.NestedSlice(so.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == conditionType {
			status, _ := fields["status"].(string)
			return status
		}
	}
	return ""
}

func (f *fleet) see(name string, change func(*seen)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[name] == nil {
		f.seen[name] = &seen{}
	}
	change(f.seen[name])
	close(f.changed)
	f.changed = make(chan struct{})
}

// of is what was seen of an object until now.
func (f *fleet) of(name string) seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.seen[name]; s != nil {
		return *s
	}
	return seen{}
}

// patience bounds the wait for anything that the run goes on after.
const patience = 10 * time.Minute

// wait waits until yes holds for each of the objects, by number, at one moment.
func (f *fleet) wait(ctx context.Context, what string, objects []int, yes func(seen) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for first := 0; ; {
		f.mu.Lock()
		changed := f.changed
		// Most events are about others: the search goes on where it stopped,
		// and from the start only when there is nobody else left.
		index := f.firstNot(objects[first:], yes)
		if index < 0 {
			first, index = 0, f.firstNot(objects, yes)
		}
		f.mu.Unlock()
		if index < 0 {
			return nil
		}
		first += index
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w with %s", what, ctx.Err(), f.left(context.WithoutCancel(ctx), objects, yes))
		}
	}
}

// firstNot is the index of the first object for which yes does not hold, -1 for
// none. The lock is held.
func (f *fleet) firstNot(objects []int, yes func(seen) bool) int {
	return slices.IndexFunc(objects, func(i int) bool {
		s := f.seen[objectName(i)]
		return s == nil || !yes(*s)
	})
}

// left tells for how many objects yes does not hold, and what is known of one.
func (f *fleet) left(ctx context.Context, objects []int, yes func(seen) bool) string {
	not := slices.DeleteFunc(slices.Clone(objects), func(i int) bool { return yes(f.of(objectName(i))) })
	if len(not) == 0 {
		return "none left by now"
	}
	name := objectName(not[0])
	return fmt.Sprintf("%d of %d objects left, such as %s: %s", len(not), len(objects), name, f.describe(ctx, scaledObjects, name))
}

// describe tells what is known of an object that something is wrong with.
func (f *fleet) describe(ctx context.Context, kind schema.GroupVersionResource, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	o, err := f.dynamic.Resource(kind).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d replicas, status %v", f.of(name).replicas, o.Object["status"])
}

func (f *fleet) all() []int { return numbers(0, f.Objects) }

func numbers(from, to int) []int {
	var all []int
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func isReady(s seen) bool { return s.ready }

// hasPods is true once an object has so many Pods, all ready.
func hasPods(n int32) func(seen) bool {
	return func(s seen) bool { return s.replicas == n && s.settled }
}

// createDeployments makes all targets with so many replicas and waits until
// nothing of them is left to do.
func (f *fleet) createDeployments(ctx context.Context, replicas int32) error {
	err := parallel(ctx, f.Objects, func(ctx context.Context, i int) error {
		_, err := f.clientset.AppsV1().Deployments(namespace).Create(ctx, deployment(objectName(i), replicas), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return f.wait(ctx, "Deployments", f.all(), func(s seen) bool { return s.synced })
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "worker", Image: "worker.invalid/worker"}}},
			},
		},
	}
}

// createScaledObjects makes them as fast as the API server takes them.
func (f *fleet) createScaledObjects(ctx context.Context) error {
	return parallel(ctx, f.Objects, func(ctx context.Context, i int) error {
		so := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
			"metadata": map[string]any{"name": objectName(i)},
			"spec": map[string]any{
				"scaleTargetRef": map[string]any{"name": objectName(i)},
				"cooldownPeriod": int64(cooldown),
				"triggers": []any{map[string]any{"type": "kafka", "metadata": map[string]any{
					"bootstrapServers": f.broker.address.String(),
					"topic":            topicName(f.topicOf(i)),
					"consumerGroup":    objectName(i),
					"lagThreshold":     strconv.Itoa(perReplica),
				}}},
			},
		}}
		_, err := f.dynamic.Resource(scaledObjects).Namespace(namespace).Create(ctx, so, metav1.CreateOptions{})
		return err
	})
}

// drain consumes the backlog of objects, and of all that share their topics,
// and waits until everybody is back at zero.
func (f *fleet) drain(ctx context.Context, objects []int) error {
	topics := map[int]bool{}
	for _, i := range objects {
		topics[f.topicOf(i)] = true
	}
	err := parallel(ctx, f.Objects, func(ctx context.Context, i int) error {
		if !topics[f.topicOf(i)] {
			return nil
		}
		return f.broker.consume(ctx, topicName(f.topicOf(i)), objectName(i))
	})
	if err != nil {
		return err
	}
	return f.wait(ctx, "back to zero", f.all(), hasPods(0))
}
