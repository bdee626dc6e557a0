package objects

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Scaled is what is scaled, with the status of it.
type Scaled struct {
	ScaledObjects []*v1alpha1.ScaledObject
	ScaledJobs    []*v1alpha1.ScaledJob
	HPAs          []*autoscalingv2.HorizontalPodAutoscaler
}

// Scaled reads what is scaled in one namespace or, with "", in all.
func (c *Cluster) Scaled(ctx context.Context, namespace string) (*Scaled, error) {
	s := &Scaled{}
	err := scaled(ctx, c, v1alpha1.GroupVersion.WithResource("scaledobjects"), namespace, &s.ScaledObjects,
		func() *v1alpha1.ScaledObject { return &v1alpha1.ScaledObject{} })
	if err == nil {
		err = scaled(ctx, c, v1alpha1.GroupVersion.WithResource("scaledjobs"), namespace, &s.ScaledJobs,
			func() *v1alpha1.ScaledJob { return &v1alpha1.ScaledJob{} })
	}
	if err == nil {
		err = scaled(ctx, c, autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"), namespace, &s.HPAs,
			func() *autoscalingv2.HorizontalPodAutoscaler { return &autoscalingv2.HorizontalPodAutoscaler{} })
	}
	return s, err
}

// scaled appends all objects of a resource. A status that makes no sense, such as
// that of a KEDA that is yet to come, counts as none.
func scaled[T client.Object](ctx context.Context, c *Cluster, resource schema.GroupVersionResource, namespace string, into *[]T, empty func() T) error {
	err := c.pages(ctx, resource, namespace, func(item *unstructured.Unstructured) error {
		object := empty()
		bytes, err := refill(item, object)
		if err != nil {
			delete(item.Object, "status")
			object = empty()
			if bytes, err = refill(item, object); err != nil {
				return nil //nolint:nilerr // what makes no sense is scaled by nobody
			}
		}
		*into = append(*into, object)
		return c.keep(bytes)
	})
	name := resource.Resource
	if resource.Group != "" {
		name += "." + resource.Group
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("this cluster has no %s: it has neither Sluice nor KEDA", name)
	case apierrors.IsForbidden(err) && namespace == "":
		return fmt.Errorf("you may not list %s in all namespaces; -n asks for one: %w", name, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not list %s in namespace %s: %w", name, namespace, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// TriggersByType counts the triggers that families have to serve, of one namespace
// or, with "", of all.
func (c *Cluster) TriggersByType(ctx context.Context, namespace string) (map[string]int, error) {
	set := &Set{}
	err := scaled(ctx, c, v1alpha1.GroupVersion.WithResource("scaledobjects"), namespace, &set.ScaledObjects,
		func() *v1alpha1.ScaledObject { return &v1alpha1.ScaledObject{} })
	if err == nil {
		err = scaled(ctx, c, v1alpha1.GroupVersion.WithResource("scaledjobs"), namespace, &set.ScaledJobs,
			func() *v1alpha1.ScaledJob { return &v1alpha1.ScaledJob{} })
	}
	return set.Triggers(), err
}
