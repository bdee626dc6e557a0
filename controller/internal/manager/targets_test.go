package manager

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// crowd has as many ScaledObjects of one target as it is asked for, and lists as
// the cache does.
type crowd struct {
	client.Reader
	copied bool
}

func (c *crowd) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	n := 10_000
	if o.Limit > 0 {
		n = min(n, int(o.Limit))
	}
	c.copied = o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy
	for i := range n {
		so := v1alpha1.ScaledObject{}
		so.Name = fmt.Sprint("worker-", i)
		list.(*v1alpha1.ScaledObjectList).Items = append(list.(*v1alpha1.ScaledObjectList).Items, so)
	}
	return nil
}

// TestOneTargetAsksForFew: a write of a workload asks for some ScaledObjects at most,
// however many there are of its name.
func TestOneTargetAsksForFew(t *testing.T) {
	objects := &crowd{}
	if got := scaling(t.Context(), objects, types.NamespacedName{Namespace: "flood", Name: "worker"}); len(got) != mostOfTarget || objects.copied {
		t.Errorf("%d are asked for, copied: %v", len(got), objects.copied)
	}
}
