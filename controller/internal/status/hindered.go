package status

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Hindered writes why nobody of us may scale an object into its condition Ready,
// and nothing else. o is a ScaledObject or ScaledJob.
func Hindered(ctx context.Context, c client.Client, o client.Object, ready v1alpha1.Condition) error {
	before := o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	conditions := conditionsOf(o)
	changed := conditions.Initialize()
	if !conditions.Set(ready) && !changed {
		return nil
	}
	err := c.Status().Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	return client.IgnoreNotFound(err)
}

func conditionsOf(o client.Object) *v1alpha1.Conditions {
	if job, ok := o.(*v1alpha1.ScaledJob); ok {
		return &job.Status.Conditions
	}
	return &o.(*v1alpha1.ScaledObject).Status.Conditions //nolint:forcetypeassert // there are two kinds
}
