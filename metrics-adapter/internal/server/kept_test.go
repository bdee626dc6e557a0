package server

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/kept/kepttest"
)

// TestWhatCachesHoldIsBounded has no room for anything. Of all kinds stubs are kept
// that say so, also after a second pass.
func TestWhatCachesHoldIsBounded(t *testing.T) {
	byObject := cached(options{selector: labels.Everything(), limits: v1alpha1.DefaultLimits}, kept.New(0, 0)).ByObject
	for object, by := range byObject {
		t.Run(fmt.Sprintf("%T", object), func(t *testing.T) {
			o := reflect.New(reflect.TypeOf(object).Elem()).Interface().(client.Object)
			o.SetNamespace("shop")
			o.SetName("worker")
			o.SetAnnotations(map[string]string{"note": strings.Repeat("x", 200<<10)})
			long := strings.Repeat("x", 100<<10)
			switch o := o.(type) {
			case *v1alpha1.ScaledObject:
				o.Spec.ScaleTargetRef.Name = long
			case *autoscalingv2.HorizontalPodAutoscaler:
				o.Spec.Metrics = []autoscalingv2.MetricSpec{{External: &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: long}}}}
			default:
				_, template := federation.ReadWorkload(o)
				template.Spec.Containers = []corev1.Container{{Name: long}}
			}
			for range 2 {
				stub, err := by.Transform(o)
				if err != nil {
					t.Fatal(err)
				}
				o = stub.(client.Object)
			}
			if !kept.WantsRoom(o) || o.GetName() != "worker" || kept.Size(o) > 16<<10 {
				t.Errorf("%d bytes are kept: %q", kept.Size(o), kept.Why(o))
			}
		})
	}
}

// Annotations that nobody reads here are not kept.
func TestAnnotationsOfOthersAreNotKept(t *testing.T) {
	so := &v1alpha1.ScaledObject{}
	so.Annotations = map[string]string{"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}", v1alpha1.AnnotationPaused: "true", v1alpha1.AnnotationNoData: "hold"}
	by := options{limits: v1alpha1.DefaultLimits}.kept(kept.New(kept.Unbounded, kept.Unbounded))
	if _, err := by(so); err != nil || len(so.Annotations) != 2 || !so.Paused() {
		t.Errorf("kept %v, %v", so.Annotations, err)
	}
}

// defaultMemory is what the garbage collector keeps to by the manifests: nine of
// ten parts of 512 MiB.
const defaultMemory = 512 << 20 / 10 * 9

// A budget refuses nobody who means no harm: a namespace of 10,000 ordinary
// objects, with their HPAs and Deployments, is kept whole by the memory that the
// manifests give, and there is room for others.
func TestTenThousandOrdinaryObjectsAreKept(t *testing.T) {
	byObject := cached(options{selector: labels.Everything(), limits: v1alpha1.DefaultLimits}, budget(defaultMemory)).ByObject
	transform := map[string]func(any) (any, error){}
	for o, by := range byObject {
		transform[fmt.Sprintf("%T", o)] = by.Transform
	}
	var all []any
	for namespace, n := range map[string]int{"other": 1_000, "shop": 10_000} {
		for i := range n {
			so, hpa := kepttest.Ordinary(t, namespace, i)
			for _, o := range []client.Object{so, hpa, kepttest.Deployment(namespace, i)} {
				got, err := transform[fmt.Sprintf("%T", o)](o)
				if err != nil || kept.Why(o) != "" {
					t.Fatalf("%s: %v, %s", o.GetName(), err, kept.Why(o))
				}
				all = append(all, got)
			}
		}
	}
	runtime.KeepAlive(all)
}
