package rules

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

const (
	// patience is how long a target that was created a moment ago, by the same
	// kubectl apply, may take to reach the cache.
	patience = time.Second
	// lookEvery is how often the cache is looked at meanwhile.
	lookEvery = 25 * time.Millisecond
)

// resources refuses cpu and memory triggers on containers without requests,
// which the HPA cannot compute a utilisation from, and going to zero with
// nothing else. As in KEDA, targets other than a Deployment or StatefulSet of
// apps/v1 are spared all of it.
//
// A target that does not exist is no reason to refuse: it may stand further
// down in the same file.
func (j *Judge) resources(ctx context.Context, so *v1alpha1.ScaledObject, kind v1alpha1.GroupVersionKindResource, v *Verdict) {
	builtins := builtinsOf(so)
	if len(builtins) == 0 || kind.GVK().GroupVersion() != appsv1.SchemeGroupVersion ||
		kind.Kind != "Deployment" && kind.Kind != "StatefulSet" {
		return
	}
	if template, err := j.template(ctx, so, kind); err != nil {
		v.warn("scaleTargetRef: whether the target's containers request %s could not be checked: %v", resourceNames(builtins), err)
	} else {
		j.requests(ctx, so, kind.Kind, template, builtins, v)
	}
	v.refuse(ReasonScaleToZero, onlyBuiltinsToZero(so))
}

// builtin is a cpu or memory trigger and its place.
type builtin struct {
	index int
	v1alpha1.ScaleTrigger
}

func builtinsOf(so *v1alpha1.ScaledObject) []builtin {
	var found []builtin
	for i, t := range so.Spec.Triggers {
		if t.Builtin() {
			found = append(found, builtin{i, t})
		}
	}
	return found
}

func resourceNames(builtins []builtin) string {
	names := make([]string, len(builtins))
	for i, b := range builtins {
		names[i] = b.Type
	}
	return strings.Join(names, ", ")
}

// template is the target's Pod template, waited for a moment.
func (j *Judge) template(ctx context.Context, so *v1alpha1.ScaledObject, kind v1alpha1.GroupVersionKindResource) (*corev1.PodTemplateSpec, error) {
	key := types.NamespacedName{Namespace: so.Namespace, Name: so.Spec.ScaleTargetRef.Name}
	object := federation.NewWorkload(kind.GVK())
	var last error
	err := wait.PollUntilContextTimeout(ctx, lookEvery, patience, true, func(ctx context.Context) (bool, error) {
		last = j.Objects.Get(ctx, key, object)
		if apierrors.IsNotFound(last) {
			return false, nil
		}
		return true, last
	})
	switch {
	case apierrors.IsNotFound(last):
		return nil, fmt.Errorf("%s %q does not exist yet", kind.Kind, key.Name)
	case err != nil:
		return nil, err
	}
	_, template := federation.ReadWorkload(object)
	return template, nil
}

// requests holds each trigger against the containers that it measures.
func (j *Judge) requests(ctx context.Context, so *v1alpha1.ScaledObject, kind string, template *corev1.PodTemplateSpec, builtins []builtin, v *Verdict) {
	var defaults corev1.LimitRangeList
	if err := j.Objects.List(ctx, &defaults, client.InNamespace(so.Namespace)); err != nil {
		v.warn("scaleTargetRef: whether the target's containers request %s could not be checked: %v", resourceNames(builtins), err)
		return
	}
	for _, b := range builtins {
		resource, only := corev1.ResourceName(b.Type), b.Metadata["containerName"]
		known := only == ""
		for i := range template.Spec.Containers {
			container := &template.Spec.Containers[i]
			if only != "" && container.Name != only {
				continue
			}
			known = true
			if !asksFor(container, resource) && !givenBy(defaults.Items, resource) {
				v.refuse(ReasonRequests, fmt.Errorf(
					"trigger %d (%s): container %q of %s %q has neither a request nor a limit for %s, and no LimitRange of the namespace gives one",
					b.index, b.Type, container.Name, kind, so.Spec.ScaleTargetRef.Name, resource))
			}
		}
		if !known {
			v.refuse(ReasonRequests, fmt.Errorf("trigger %d (%s): containerName: %s %q has no container %q",
				b.index, b.Type, kind, so.Spec.ScaleTargetRef.Name, only))
		}
	}
}

// asksFor reports whether a container has a request for a resource: a limit
// alone is one, too.
func asksFor(container *corev1.Container, resource corev1.ResourceName) bool {
	return positive(container.Resources.Requests, resource) || positive(container.Resources.Limits, resource)
}

// givenBy reports whether containers get a request by default.
func givenBy(ranges []corev1.LimitRange, resource corev1.ResourceName) bool {
	for _, r := range ranges {
		for _, item := range r.Spec.Limits {
			if item.Type == corev1.LimitTypeContainer && (positive(item.DefaultRequest, resource) || positive(item.Default, resource)) {
				return true
			}
		}
	}
	return false
}

func positive(list corev1.ResourceList, resource corev1.ResourceName) bool {
	quantity, given := list[resource]
	return given && quantity.Sign() > 0
}
