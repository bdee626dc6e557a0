package manager

import (
	"fmt"
	"runtime"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/kept/kepttest"
)

// defaultMemory is what the garbage collector keeps to by the manifests: nine of
// ten parts of 512 MiB.
const defaultMemory = 512 << 20 / 10 * 9

// A budget refuses nobody who means no harm: a namespace of 10,000 ordinary
// objects, with their HPAs and Deployments, is kept whole by the memory that the
// manifests give, and there is room for others.
func TestTenThousandOrdinaryObjectsAreKept(t *testing.T) {
	workloads, objects := federation.WorkloadsIn(ofWorkloads(defaultMemory)), ofUsers(defaultMemory)
	byObject := options(Options{Selector: labels.Everything(), AuthenticationSelector: labels.Everything(), Limits: v1alpha1.DefaultLimits}, workloads, objects).Cache.ByObject
	transform := map[string]func(any) (any, error){}
	for o, by := range byObject {
		transform[fmt.Sprintf("%T", o)] = by.Transform
	}
	var all []any
	keep := func(o client.Object) {
		t.Helper()
		got, err := transform[fmt.Sprintf("%T", o)](o)
		if err != nil || kept.Why(o) != "" {
			t.Fatalf("%s: %v, %s", o.GetName(), err, kept.Why(o))
		}
		all = append(all, got)
	}
	for namespace, n := range map[string]int{"other": 1_000, "shop": 10_000} {
		for i := range n {
			so, hpa := kepttest.Ordinary(t, namespace, i)
			keep(so)
			keep(hpa)
			keep(kepttest.Deployment(namespace, i))
		}
	}
	runtime.KeepAlive(all)
}

// BenchmarkKept is what an event of an object costs beside decoding it.
func BenchmarkKept(b *testing.B) {
	unbounded := kept.New(kept.Unbounded, kept.Unbounded)
	transform := keptObject(Options{Limits: v1alpha1.DefaultLimits}, unbounded, "ScaledObject", (*v1alpha1.ScaledObject).Stub)
	so, _ := kepttest.Ordinary(b, "shop", 1)
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			so.DeepCopy()
		}
	})
	b.Run("size", func(b *testing.B) {
		for b.Loop() {
			kept.Size(so)
		}
	})
	b.Run("transform", func(b *testing.B) {
		for b.Loop() {
			if _, err := transform(so.DeepCopy()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
