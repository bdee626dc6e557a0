// Package hpa holds the HPA of kubectl-sluice, by which plans are replayed,
// against the controller of Kubernetes itself: the same HPA, the same metrics and
// the same interference, sync by sync, on a clock of its own.
package hpa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	scaleclient "k8s.io/client-go/scale"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"

	"github.com/sluice-autoscaler/sluice/controller/hpa"
)

const namespace, name = "shop", "worker"

func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	// The default ones wait by a clock that begins anew with each test.
	utilruntime.ErrorHandlers = nil
	os.Exit(m.Run())
}

// step is what the controller finds at one of its syncs.
type step struct {
	// values are what the metrics read, in thousandths, -1 for an error.
	values []int64
	// set is what somebody else wrote to spec.replicas since the last, 0 for
	// nobody, -1 for zero.
	set int32
	// unready are how many Pods are not ready, of those there are.
	unready int32
}

func (s step) apply(replicas int32) int32 {
	switch {
	case s.set < 0:
		return 0
	case s.set > 0:
		return s.set
	}
	return replicas
}

// cluster is all that the controller sees, as it is at a moment.
type cluster struct {
	scaleclient.ScaleInterface
	coreinformers.PodInformer
	corelisters.PodLister
	metrics.MetricsClient

	mu       sync.Mutex
	replicas int32
	step     step
	syncs    int // how often a metric was asked for or a scale read
}

func (c *cluster) Scales(string) scaleclient.ScaleInterface { return c }

func (c *cluster) Get(context.Context, schema.GroupResource, string, metav1.GetOptions) (*autoscalingv1.Scale, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syncs++
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       autoscalingv1.ScaleSpec{Replicas: c.replicas},
		Status:     autoscalingv1.ScaleStatus{Replicas: c.replicas, Selector: "app=worker"},
	}, nil
}

func (c *cluster) Update(_ context.Context, _ schema.GroupResource, s *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replicas = s.Spec.Replicas
	return s, nil
}

func (c *cluster) Lister() corelisters.PodLister              { return c }
func (c *cluster) Pods(string) corelisters.PodNamespaceLister { return pods{c: c} }
func (c *cluster) ready() (pods, ready int32)                 { return c.replicas, max(c.replicas-c.step.unready, 0) }

type pods struct {
	corelisters.PodNamespaceLister
	c *cluster
}

func (p pods) List(labels.Selector) ([]*corev1.Pod, error) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	all, ready := p.c.ready()
	list := make([]*corev1.Pod, all)
	for i := range list {
		list[i] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(i), Labels: map[string]string{"app": "worker"}}}
		list[i].Status.Phase = corev1.PodRunning
		if i < int(ready) {
			list[i].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
	}
	return list, nil
}

var errRead = errors.New("no answer")

func (c *cluster) value(metric string) (int64, error) {
	var i int
	if _, err := fmt.Sscanf(metric, "s%d", &i); err != nil {
		return 0, err
	}
	if v := c.step.values[i]; v >= 0 {
		return v, nil
	}
	return 0, errRead
}

func (c *cluster) GetExternalMetric(metric, _ string, _ labels.Selector) ([]int64, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.value(metric)
	return []int64{v}, time.Now(), err
}

// kubernetes runs Kubernetes' controller and returns the replicas after each sync.
func kubernetes(t *testing.T, object *autoscalingv2.HorizontalPodAutoscaler, replicas int32, steps []step) (after []int32) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &cluster{replicas: replicas}
		client := fake.NewClientset(object.DeepCopy())
		factory := informers.NewSharedInformerFactory(client, 0)
		c.PodInformer = factory.Core().V1().Pods()
		mapper := apimeta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "apps", Version: "v1"}})
		mapper.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, apimeta.RESTScopeNamespace)
		controller := podautoscaler.NewHorizontalController(ctx, client.CoreV1(), c, client.AutoscalingV2(), mapper, c,
			factory.Autoscaling().V2().HorizontalPodAutoscalers(), c,
			hpa.SyncPeriod, hpa.DownscaleWindow, hpa.Tolerance, 5*time.Minute, 30*time.Second)
		c.prepare(steps[0])
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		go controller.Run(ctx, 1)
		pass(hpa.SyncPeriod / 2)
		for i := range steps {
			synctest.Wait()
			replicas, syncs := c.look()
			if syncs != 1 {
				t.Errorf("%d syncs in period %d, want 1", syncs, i)
			}
			after = append(after, replicas)
			if i+1 < len(steps) {
				c.prepare(steps[i+1])
				pass(hpa.SyncPeriod)
			}
		}
		cancel()
		factory.Shutdown()
	})
	return after
}

// pass lets time pass on the clock of the test, at once.
func pass(took time.Duration) { <-time.After(took) }

func (c *cluster) prepare(s step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step, c.replicas, c.syncs = s, s.apply(c.replicas), 0
}

func (c *cluster) look() (replicas int32, syncs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replicas, c.syncs
}

func objectOf(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior, lo, hi int32, specs ...autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("1"), ResourceVersion: "1"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", APIVersion: "apps/v1", Name: name},
			MinReplicas:    &lo, MaxReplicas: hi, Metrics: specs, Behavior: behavior,
		},
	}
}
