package rules

import (
	"context"
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// Index is an index of cached objects that admission looks things up by.
type Index struct {
	Object client.Object
	Field  string
	Keys   client.IndexerFunc
}

// ByTarget is the index of ScaledObjects and of HPAs by the name of their
// target.
const ByTarget = "spec.scaleTargetRef.name"

// byHPAName is the index of ScaledObjects by the name of their HPA.
const byHPAName = "hpaName"

// Indexes are what the caches of Webhook.Objects must have.
func Indexes() []Index {
	return []Index{
		{&v1alpha1.ScaledObject{}, ByTarget, func(o client.Object) []string {
			return kept.Key(o.(*v1alpha1.ScaledObject).Spec.ScaleTargetRef.Name)
		}},
		{&v1alpha1.ScaledObject{}, byHPAName, func(o client.Object) []string {
			return kept.Key(o.(*v1alpha1.ScaledObject).HPAName())
		}},
		{&autoscalingv2.HorizontalPodAutoscaler{}, ByTarget, func(o client.Object) []string {
			return kept.Key(o.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef.Name)
		}},
	}
}

// otherObjects refuses a workload and an HPA that another ScaledObject has, and
// returns the names of those that have the workload. Objects that are being
// deleted have nothing any more.
func (j *Judge) otherObjects(ctx context.Context, so *v1alpha1.ScaledObject, kind v1alpha1.GroupVersionKindResource, v *Verdict) (rivals []string) {
	for _, other := range j.others(ctx, so, ByTarget, so.Spec.ScaleTargetRef.Name, v) {
		if kind.Means(other.Spec.ScaleTargetRef) {
			v.refuse(ReasonOtherScaledObject, fmt.Errorf("scaleTargetRef: %s %q is already scaled by ScaledObject %q",
				kind.Kind, so.Spec.ScaleTargetRef.Name, other.Name))
			rivals = append(rivals, other.Name)
		}
	}
	for _, other := range j.others(ctx, so, byHPAName, so.HPAName(), v) {
		v.refuse(ReasonOtherScaledObjectHPA, fmt.Errorf("the HPA's name %q is already that of ScaledObject %q", so.HPAName(), other.Name))
	}
	return rivals
}

// mostOthers is how many objects with the same target or HPA are told of. One is
// enough to refuse another.
const mostOthers = 20

// others are other ScaledObjects of the namespace with that value of an index, by
// name.
func (j *Judge) others(ctx context.Context, so *v1alpha1.ScaledObject, index, value string, v *Verdict) []v1alpha1.ScaledObject {
	var list v1alpha1.ScaledObjectList
	if err := j.Objects.List(ctx, &list, client.InNamespace(so.Namespace), client.MatchingFields{index: value}, client.Limit(mostOthers), client.UnsafeDisableDeepCopy); err != nil {
		v.warn("whether another ScaledObject has the same target or HPA could not be checked: %v", err)
		return nil
	}
	list.Items = slices.DeleteFunc(list.Items, func(other v1alpha1.ScaledObject) bool {
		return other.Name == so.Name || other.DeletionTimestamp != nil
	})
	slices.SortFunc(list.Items, func(a, b v1alpha1.ScaledObject) int { return byName(&a, &b) })
	return list.Items
}

// mostOfTarget is how many ScaledObjects may name one target, where the webhook did
// not keep them from it. Of more nobody is looked for who has it.
const mostOfTarget = 20

// RivalError says that a target is scaled by another ScaledObject.
type RivalError struct {
	Kind   string
	Target string
	// Name is the other, "" where there are too many.
	Name string
}

func (e *RivalError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("scaleTargetRef: more than %d ScaledObjects name %s %q, and none scales it", mostOfTarget, e.Kind, e.Target)
	}
	return fmt.Sprintf("scaleTargetRef: %s %q is already scaled by ScaledObject %q, which is older", e.Kind, e.Target, e.Name)
}

// Rival is a RivalError where another ScaledObject has the target of one: of those
// that name it, and are not being deleted, the oldest has it.
func Rival(ctx context.Context, objects client.Reader, so *v1alpha1.ScaledObject, kind v1alpha1.GroupVersionKindResource) error {
	var list v1alpha1.ScaledObjectList
	err := objects.List(ctx, &list, client.InNamespace(so.Namespace), client.MatchingFields{ByTarget: so.Spec.ScaleTargetRef.Name},
		client.Limit(mostOfTarget+1), client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("scaleTargetRef: who scales it: %w", err)
	}
	if len(list.Items) > mostOfTarget {
		return &RivalError{Kind: kind.Kind, Target: so.Spec.ScaleTargetRef.Name}
	}
	oldest := so
	for i := range list.Items {
		other := &list.Items[i]
		if other.DeletionTimestamp == nil && other.Name != so.Name && kind.Means(other.Spec.ScaleTargetRef) && older(other, oldest) {
			oldest = other
		}
	}
	if oldest == so {
		return nil
	}
	return &RivalError{Kind: kind.Kind, Target: so.Spec.ScaleTargetRef.Name, Name: oldest.Name}
}

func older(a, b *v1alpha1.ScaledObject) bool {
	if at, other := a.CreationTimestamp.Time, b.CreationTimestamp.Time; !at.Equal(other) {
		return at.Before(other)
	}
	return a.Name < b.Name
}

// otherHPAs refuses a workload that an HPA which is not the object's own
// scales, unless the user hands that HPA over. Those of ScaledObjects that were
// refused for the same workload are no second problem.
func (j *Judge) otherHPAs(
	ctx context.Context, so *v1alpha1.ScaledObject, kind v1alpha1.GroupVersionKindResource, rivals []string, v *Verdict,
) {
	var list autoscalingv2.HorizontalPodAutoscalerList
	err := j.Objects.List(ctx, &list, client.InNamespace(so.Namespace), client.MatchingFields{ByTarget: so.Spec.ScaleTargetRef.Name}, client.Limit(mostOthers), client.UnsafeDisableDeepCopy)
	if err != nil {
		v.warn("whether another HPA scales the target could not be checked: %v", err)
		return
	}
	slices.SortFunc(list.Items, func(a, b autoscalingv2.HorizontalPodAutoscaler) int { return byName(&a, &b) })
	for i := range list.Items {
		hpa := &list.Items[i]
		ref := v1alpha1.ScaleTarget{APIVersion: hpa.Spec.ScaleTargetRef.APIVersion, Kind: hpa.Spec.ScaleTargetRef.Kind}
		switch {
		case hpa.DeletionTimestamp != nil || hpa.Annotations[v1alpha1.AnnotationHPAOwnership] == "false":
		case !kind.Means(ref) || ownedBy(hpa, append(rivals, so.Name)) || j.orphaned(ctx, hpa):
		case !transfersHPA(so):
			v.refuse(ReasonOtherHPA, fmt.Errorf(
				"scaleTargetRef: %s %q is already scaled by HPA %q: delete it, or hand it over with annotation %s: \"true\" and advanced.horizontalPodAutoscalerConfig.name: %s",
				kind.Kind, so.Spec.ScaleTargetRef.Name, hpa.Name, v1alpha1.AnnotationTransferHPAOwnership, hpa.Name))
		case so.GivenHPAName() != hpa.Name:
			v.refuse(ReasonTransferWithoutName, fmt.Errorf(
				"advanced.horizontalPodAutoscalerConfig.name: must be %q, the HPA to hand over, with annotation %s",
				hpa.Name, v1alpha1.AnnotationTransferHPAOwnership))
		}
	}
}

// ownedBy tells by kind and name, not by UID: an object that was deleted and
// made again is the same to its user.
func ownedBy(hpa *autoscalingv2.HorizontalPodAutoscaler, names []string) bool {
	return slices.ContainsFunc(hpa.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Kind == "ScaledObject" && slices.Contains(names, o.Name)
	})
}

// orphaned reports whether an HPA was a ScaledObject's that is gone or going:
// the garbage collector is about to take it.
func (j *Judge) orphaned(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	for _, o := range hpa.OwnerReferences {
		if o.Kind != "ScaledObject" {
			continue
		}
		var owner v1alpha1.ScaledObject
		err := j.Objects.Get(ctx, client.ObjectKey{Namespace: hpa.Namespace, Name: o.Name}, &owner)
		return apierrors.IsNotFound(err) || err == nil && owner.DeletionTimestamp != nil
	}
	return false
}

func transfersHPA(so *v1alpha1.ScaledObject) bool {
	return so.Annotations[v1alpha1.AnnotationTransferHPAOwnership] == "true"
}

func byName(a, b client.Object) int {
	if a.GetName() < b.GetName() {
		return -1
	}
	return 1
}
