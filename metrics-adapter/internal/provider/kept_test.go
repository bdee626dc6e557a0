package provider

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/federation"
)

func heavyDeployment(namespace string, i int) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(namespace, i))}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "A", Value: strings.Repeat("a", 10_000)}}}}
	return d
}

// TestWhatCachesHoldIsBounded has a namespace with more workloads and HPAs than
// there is room for. They are kept without what takes it, and say so; others are
// kept; an object that changes counts once, and one that is gone no more.
func TestWhatCachesHoldIsBounded(t *testing.T) {
	k := &Kept{OfOne: 500_000, InAll: 1_000_000}
	var held []any
	keep := func(object any) any {
		t.Helper()
		kept, err := k.Workload(object)
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	for range 3 { // the same, time and again
		held = nil
		for i := range 100 {
			d := keep(heavyDeployment("greedy", i)).(*appsv1.Deployment)
			held = append(held, d)
			err := federation.Cut(d)
			if cut := len(d.Spec.Template.Spec.Containers) == 0; cut != (err != nil) || cut && !strings.Contains(err.Error(), "500000 bytes") {
				t.Fatalf("%d: %d containers, %v", i, len(d.Spec.Template.Spec.Containers), err)
			}
		}
	}
	hpa := func(namespace string) *autoscalingv2.HorizontalPodAutoscaler {
		kept, err := k.HPA(&autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a", UID: types.UID("hpa of " + namespace)},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: []autoscalingv2.MetricSpec{{External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: strings.Repeat("a", 20_000)},
			}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return kept.(*autoscalingv2.HorizontalPodAutoscaler)
	}
	if len(hpa("greedy").Spec.Metrics) != 0 || len(hpa("shop").Spec.Metrics) != 1 {
		t.Error("the room of HPAs is not that of their namespace")
	}
	k.mu.Lock()
	if k.of["greedy"] > k.OfOne || k.of["greedy"] < k.OfOne-20_000 {
		t.Errorf("%d bytes are counted", k.of["greedy"])
	}
	k.mu.Unlock()
	if d := keep(heavyDeployment("shop", 0)).(*appsv1.Deployment); federation.Cut(d) != nil {
		t.Errorf("another namespace: %v", federation.Cut(d))
	}
	runtime.KeepAlive(held)
	counted := func() int { k.mu.Lock(); defer k.mu.Unlock(); return k.all }
	for deadline := time.Now().Add(time.Minute); counted() != 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are counted of objects that nobody has", counted())
		}
		runtime.GC()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.objects)+len(k.of) != 0 {
		t.Errorf("%d objects of %d namespaces are left", len(k.objects), len(k.of))
	}
}
