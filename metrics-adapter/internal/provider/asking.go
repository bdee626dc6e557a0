package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// asking is one answer in the making: the triggers that it asks the families
// about.
//
// A family that has a trigger answers by its identity alone. The scale target,
// where variables and the service account stand, is needed for the full request
// to one that does not. So it is read beforehand only where the cache has it
// and the variables also tell which instance has the trigger, and else once a
// family has asked for more.
type asking struct {
	families Families
	triggers []federation.Trigger
	// whole are the triggers with all that is known of the target.
	whole func() ([]federation.Trigger, error)
}

// errNotRead keeps the federation from a full request without the target.
var errNotRead = errors.New("the scale target was not read")

func (p *Provider) asking(ctx context.Context, so *v1alpha1.ScaledObject) (a *asking, err error) {
	cached := namesVariable(so) && watched(so.TargetKind())
	read := p.liveTemplate
	if cached {
		read = p.cachedTemplate
	}
	a = &asking{families: p.Families, whole: sync.OnceValues(func() ([]federation.Trigger, error) { return p.whole(ctx, so, read) })}
	if cached {
		a.triggers, err = a.whole()
		return a, err
	}
	a.triggers = federation.TriggersOf(so, federation.Workload{Mode: federation.Active})
	for i := range a.triggers {
		if t := &a.triggers[i]; t.Authentication != "" || scalerv1.NameVariable(t.Metadata) {
			t.Unread = errNotRead
		}
	}
	return a, nil
}

// watched reports whether targets of a kind are in the cache. ReplicaSets are not:
// each Deployment has some, and one object that named one would have all watched.
func watched(kind schema.GroupVersionKind) bool {
	switch federation.NewWorkload(kind).(type) {
	case *appsv1.Deployment, *appsv1.StatefulSet:
		return true
	default:
		return false
	}
}

// edition is an object and its target as they are at one moment.
type edition struct {
	object types.NamespacedName
	// version and targetVersion are resource versions.
	version, targetVersion string
}

func (e edition) namespace() string { return e.object.Namespace }

// perText is what a text takes beside its bytes, perTrigger a trigger.
const perText, perTrigger = 64, 512

// triggers are those of one object.
type triggers []federation.Trigger

// size is what is kept for them alone: the containers once, which they share.
func (all triggers) size() (bytes int) {
	for i, t := range all {
		bytes += perTrigger + len(t.Type) + len(t.TriggerName) + len(t.Authentication) + variables(t.Env)
		for key, value := range t.Metadata {
			bytes += 2*perText + len(key) + len(value)
		}
		for key, ref := range t.Inline {
			bytes += 3*perText + len(key) + len(ref.Name) + len(ref.Key)
		}
		if i > 0 && len(t.Containers) > 0 && len(all[0].Containers) > 0 && &t.Containers[0] == &all[0].Containers[0] {
			continue
		}
		for _, c := range t.Containers {
			bytes += perText + len(c.Name) + variables(c.Env)
			for _, from := range c.EnvFrom {
				bytes += 3*perText + len(from.Prefix) + len(from.Secret) + len(from.ConfigMap)
			}
		}
	}
	return bytes
}

func variables(all map[string]scalerv1.EnvVar) (bytes int) {
	for name, v := range all {
		bytes += perText + len(name) + variable(v)
	}
	return bytes
}

func variable(v scalerv1.EnvVar) int {
	bytes := perText
	if v.Value != nil {
		bytes += len(*v.Value)
	}
	for _, ref := range []*scalerv1.KeyRef{v.SecretKeyRef, v.ConfigMapKeyRef} {
		if ref != nil {
			bytes += perText + len(ref.Name) + len(ref.Key)
		}
	}
	for _, from := range v.EnvFrom {
		bytes += variable(from)
	}
	return bytes
}

// whole finds out what the triggers of an object may know of its target. The
// HPA controller asks for one metric after the other, and what tenants wrote
// there may be large: it is found out once for all metrics, and within the time
// of each who asks.
func (p *Provider) whole(ctx context.Context, so *v1alpha1.ScaledObject, read reading) ([]federation.Trigger, error) {
	target, err := read(ctx, so)
	workload := federation.Workload{Mode: federation.Active, Template: target.template, ServiceAccount: federation.ServiceAccountOf(target.template)}
	if err != nil {
		// A trigger that names variables cannot be asked for in full; one with an
		// authentication object can, and its family says so if that names some.
		workload.Unread = fmt.Errorf("scale target, whose variables the trigger names: %w", err)
	}
	if target.template == nil {
		return federation.TriggersOf(so, workload), nil
	}
	now := edition{client.ObjectKeyFromObject(so), so.ResourceVersion, target.version}
	known, err := p.known.get(ctx, now, templateFor, func(context.Context) (triggers, error) {
		return federation.TriggersOf(so, workload), nil
	})
	if err != nil {
		return nil, fmt.Errorf("variables of the scale target: %w", err)
	}
	return known, nil
}

// family asks for a metric of a trigger.
func (a *asking) family(ctx context.Context, t federation.Trigger, metric string) (float64, error) {
	value, err := a.families.GetMetrics(ctx, t, metric)
	if !errors.Is(err, errNotRead) {
		return value, err
	}
	all, late := a.whole()
	if late != nil {
		return 0, late
	}
	for _, whole := range all {
		if whole.ID == t.ID {
			return a.families.GetMetrics(ctx, whole, metric)
		}
	}
	return value, err
}

// readTarget is the Pod template of a target, nil where it has none.
type readTarget struct {
	template *corev1.PodTemplateSpec
	version  string
}

// size is what is kept of it, which is what federation.StripWorkload leaves.
func (r readTarget) size() (bytes int) {
	if r.template == nil {
		return perText
	}
	for _, c := range r.template.Spec.Containers {
		bytes += perTrigger + len(c.Name)
		for _, v := range c.Env {
			bytes += 2*perText + len(v.Name) + len(v.Value)
			if v.ValueFrom != nil {
				bytes += 4 * perText // references to names, which the API server bounds
			}
		}
		bytes += len(c.EnvFrom) * 4 * perText
	}
	return bytes
}

// reading is one way to read a target.
type reading func(context.Context, *v1alpha1.ScaledObject) (readTarget, error)

func (p *Provider) cachedTemplate(ctx context.Context, so *v1alpha1.ScaledObject) (readTarget, error) {
	return template(ctx, p.Objects, targetOf(so))
}

func (p *Provider) liveTemplate(ctx context.Context, so *v1alpha1.ScaledObject) (readTarget, error) {
	target := targetOf(so)
	return p.templates.get(ctx, target, templateFor, func(ctx context.Context) (readTarget, error) {
		leave, ok := p.reading.enter(ctx, mostReads, mostReadsOfOne, target.name.Namespace)
		if !ok {
			return readTarget{}, fmt.Errorf("other scale targets of the namespace are being read: %w", context.Cause(ctx))
		}
		defer leave()
		return template(ctx, p.Cluster, target)
	})
}

func targetOf(so *v1alpha1.ScaledObject) scaleTarget {
	return scaleTarget{kind: so.TargetKind(), name: types.NamespacedName{Namespace: so.Namespace, Name: so.Spec.ScaleTargetRef.Name}}
}

// template is what is read of the Pod template of the target. Reading one of
// another kind than those of apps/v1 needs a permission.
func template(ctx context.Context, from client.Reader, target scaleTarget) (readTarget, error) {
	if object := federation.NewWorkload(target.kind); object != nil {
		if err := from.Get(ctx, target.name, object); err != nil {
			return readTarget{}, err
		}
		return stripped(object, object.GetResourceVersion())
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(target.kind)
	if err := from.Get(ctx, target.name, object); err != nil {
		return readTarget{}, err
	}
	found := federation.TemplateOf(object)
	if found == nil {
		return readTarget{version: object.GetResourceVersion()}, nil
	}
	return stripped(&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: *found}}, object.GetResourceVersion())
}

// stripped is a workload as the cache has it.
func stripped(object client.Object, version string) (readTarget, error) {
	if _, err := federation.StripWorkload(object); err != nil {
		return readTarget{}, err
	}
	_, template := federation.ReadWorkload(object)
	return readTarget{template, version}, federation.Cut(object)
}

// namesVariable reports whether a trigger names a variable of the target.
func namesVariable(so *v1alpha1.ScaledObject) bool {
	for _, t := range so.Spec.Triggers {
		if scalerv1.NameVariable(t.Metadata) {
			return true
		}
	}
	return false
}
