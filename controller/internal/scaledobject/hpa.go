package scaledobject

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// maxLabelLength is the longest value of a label.
const maxLabelLength = 63

// ByOwner is the index of HPAs by the name of the ScaledObject that made them.
// An object that is deleted and made again goes on with the HPA it had: the
// garbage collector, which knows it by its UID, comes too late or is seen as
// anybody who deletes an HPA.
const ByOwner = "scaledobject.name"

// OwnerOf is what ByOwner indexes.
func OwnerOf(hpa client.Object) []string {
	owner := metav1.GetControllerOf(hpa)
	if owner == nil || owner.Kind != "ScaledObject" {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || gv.Group != v1alpha1.GroupVersion.Group {
		return nil
	}
	return kept.Key(owner.Name)
}

// desiredHPA is the whole HPA of an object: metrics in
// the order of their source types, and the annotation that remembers what they
// were built from.
func desiredHPA(so *v1alpha1.ScaledObject, target v1alpha1.GroupVersionKindResource, built metrics, version string, selecting []string) *autoscalingv2.HorizontalPodAutoscaler {
	gv := target.Version
	if target.Group != "" {
		gv = target.Group + "/" + target.Version
	}
	annotations := maps.Clone(so.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	// Ours alone, whatever a user wrote under its name.
	annotations[v1alpha1.AnnotationSpecs] = built.hashes
	if built.hashes == "" {
		delete(annotations, v1alpha1.AnnotationSpecs)
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Name:            so.HPAName(),
			Namespace:       so.Namespace,
			Labels:          hpaLabels(so, version, selecting),
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{owner(so)},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				Kind: target.Kind, APIVersion: gv, Name: so.Spec.ScaleTargetRef.Name,
			},
			MinReplicas: ptr.To(so.HPAMinReplicas()),
			MaxReplicas: so.MaxReplicas(),
			Behavior:    scaling.Behavior(so),
			Metrics:     inOrder(built.specs),
		},
	}
}

func owner(so *v1alpha1.ScaledObject) metav1.OwnerReference {
	return *metav1.NewControllerRef(so, v1alpha1.GroupVersion.WithKind("ScaledObject"))
}

// hpaLabels are KEDA's four, overlaid by the object's own. Those
// by which the installation selects its objects cannot be excluded: it would not
// see the HPA any more.
func hpaLabels(so *v1alpha1.ScaledObject, version string, selecting []string) map[string]string {
	labels := map[string]string{
		"app.kubernetes.io/name":       labelValue(so.HPAName()),
		"app.kubernetes.io/version":    labelValue(version),
		"app.kubernetes.io/part-of":    labelValue(so.Name),
		"app.kubernetes.io/managed-by": "keda-operator",
	}
	excluded := so.HPAExcludedLabels()
	for key, value := range so.Labels {
		if !excluded.Has(key) || slices.Contains(selecting, key) {
			labels[key] = value
		}
	}
	return labels
}

// keptLabels names the labels that are excluded in vain.
func keptLabels(so *v1alpha1.ScaledObject, selecting []string) (warnings []string) {
	excluded := so.HPAExcludedLabels()
	for _, key := range selecting {
		if _, has := so.Labels[key]; has && excluded.Has(key) {
			warnings = append(warnings, fmt.Sprintf("annotation %s: %s is copied all the same, it selects the objects of this installation",
				v1alpha1.AnnotationHPAExcludedLabels, key))
		}
	}
	return warnings
}

// labelValue cuts text to what a label may hold.
func labelValue(text string) string {
	if len(text) > maxLabelLength {
		text = text[:maxLabelLength]
	}
	return strings.TrimRightFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// inOrder sorts metrics by the name of their source type; metrics of one type
// stay in trigger order.
func inOrder(specs []autoscalingv2.MetricSpec) []autoscalingv2.MetricSpec {
	sorted := slices.Clone(specs)
	slices.SortStableFunc(sorted, func(a, b autoscalingv2.MetricSpec) int {
		return strings.Compare(string(a.Type), string(b.Type))
	})
	return sorted
}

// merge returns the HPA to write over the live one, or nil when the live one
// already is as desired. Labels and annotations that others put there count as
// desired until something else differs; then they go, as in KEDA. Owner and spec
// are exactly the desired ones.
//
// Made to look by a nudge, it is as desired all the same; once its user wants no
// nudges, it is not.
func merge(live, desired *autoscalingv2.HorizontalPodAutoscaler, nudges bool) *autoscalingv2.HorizontalPodAutoscaler {
	if nudge := scaling.Nudged(live.Spec.Metrics); nudges {
		if _, ok := scaling.NudgedBy(nudge); ok {
			desired = desired.DeepCopy()
			desired.Spec.Metrics, _ = scaling.Nudge(desired.Spec.Metrics, nudge)
		}
	}
	if contains(live.Labels, desired.Labels) && contains(live.Annotations, desired.Annotations) &&
		apiequality.Semantic.DeepEqual(live.OwnerReferences, desired.OwnerReferences) &&
		apiequality.Semantic.DeepEqual(live.Spec, desired.Spec) {
		return nil
	}
	merged := desired.DeepCopy()
	merged.ResourceVersion = live.ResourceVersion
	merged.UID = live.UID
	return merged
}

// SameSpec reports whether two HPAs ask for the same, whatever made their controller
// look at them.
func SameSpec(a, b *autoscalingv2.HorizontalPodAutoscaler) bool {
	one, other := a.Spec, b.Spec
	one.Metrics, other.Metrics = scaling.WithoutNudge(one.Metrics), scaling.WithoutNudge(other.Metrics)
	return apiequality.Semantic.DeepEqual(one, other)
}

// longestReason is how long a reason that is kept may be.
const longestReason = 64

// mostReported are the external metrics that are kept of an HPA's status, and
// longestName how long a name of one may be.
const mostReported, longestName = 100, 512

// Stripped is a transform for caches, within a budget: of an HPA's status only what
// it says of itself is read, and what it was told of external metrics. What is
// written is made anew each time, from the spec. Of one that there is no room for
// is kept what it steers and who owns it, and it is not written.
func Stripped(budget *kept.Budget) func(any) (any, error) {
	return kept.Transform(budget, "HorizontalPodAutoscaler", strip, func(hpa *autoscalingv2.HorizontalPodAutoscaler, _ string) {
		v1alpha1.StubMetadata(hpa)
		steers(hpa)
		v1alpha1.StubPart(&hpa.Spec.ScaleTargetRef)
		hpa.Status = autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: hpa.Status.CurrentReplicas, DesiredReplicas: hpa.Status.DesiredReplicas}
	})
}

func strip(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	hpa.ManagedFields = nil
	var kept []autoscalingv2.HorizontalPodAutoscalerCondition
	for _, c := range hpa.Status.Conditions {
		switch c.Type {
		case autoscalingv2.ScalingActive:
			kept = append(kept, c)
		case autoscalingv2.AbleToScale, autoscalingv2.ScalingLimited:
			if len(c.Reason) <= longestReason {
				kept = append(kept, autoscalingv2.HorizontalPodAutoscalerCondition{Type: c.Type, Status: c.Status, Reason: c.Reason})
			}
		case autoscalingv2.ScaledToZero: // nobody reads it
		}
	}
	hpa.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: hpa.Status.ObservedGeneration, Conditions: kept, CurrentMetrics: told(hpa.Status.CurrentMetrics),
		CurrentReplicas: hpa.Status.CurrentReplicas, DesiredReplicas: hpa.Status.DesiredReplicas,
	}
	cut(hpa)
}

// told are the external metrics of a status, by name and value alone.
func told(all []autoscalingv2.MetricStatus) (kept []autoscalingv2.MetricStatus) {
	for _, m := range all {
		if m.External == nil || len(m.External.Metric.Name) > longestName || len(kept) == mostReported {
			continue
		}
		kept = append(kept, autoscalingv2.MetricStatus{Type: m.Type, External: &autoscalingv2.ExternalMetricStatus{
			Metric: autoscalingv2.MetricIdentifier{Name: m.External.Metric.Name}, Current: m.External.Current,
		}})
	}
	return kept
}

// mostOfHPA is what the spec of an HPA may have, as JSON; one of ours has a tenth.
const mostOfHPA = 256 << 10

// cut leaves of an HPA that is too large to be one of ours what it steers and who
// owns it. One that is ours all the same differs from what it should be, and is
// written again.
func cut(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	owner := metav1.GetControllerOf(hpa)
	if v1alpha1.CutMetadata(hpa) != nil && owner != nil {
		hpa.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	if !v1alpha1.Fits(hpa.Spec, mostOfHPA) {
		steers(hpa)
	}
}

func contains(all, some map[string]string) bool {
	for key, value := range some {
		if have, ok := all[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// owns reports whether an HPA was made for the object.
func owns(so *v1alpha1.ScaledObject, hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.Contains(OwnerOf(hpa), so.Name)
}

// mayOwn refuses an HPA that somebody else made, unless the user said that it
// is to be taken over. That of another ScaledObject is that one's while it is there:
// both would take it back from each other for ever.
func (r *Reconciler) mayOwn(ctx context.Context, so *v1alpha1.ScaledObject, live *autoscalingv2.HorizontalPodAutoscaler) error {
	if owns(so, live) {
		return nil
	}
	foreign := &ForeignHPAError{Name: live.Name, Owner: metav1.GetControllerOf(live)}
	for _, name := range OwnerOf(live) {
		other := &v1alpha1.ScaledObject{}
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: so.Namespace, Name: name}, other)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		foreign.Lives = err == nil && other.DeletionTimestamp == nil
	}
	if so.TransfersHPAOwnership() && !foreign.Lives {
		return nil
	}
	return foreign
}

// ForeignHPAError says that the HPA under the wanted name is not the object's.
type ForeignHPAError struct {
	Name  string
	Owner *metav1.OwnerReference // nil when nothing owns it
	Lives bool                   // it is another ScaledObject's, which is there
}

func (e *ForeignHPAError) Error() string {
	whose := "exists and was not made for this object"
	if e.Owner != nil {
		whose = "belongs to " + e.Owner.Kind + " " + e.Owner.Name
	}
	if e.Lives {
		return fmt.Sprintf("%s %s, which is there: name another HPA, or delete that object", e.Name, whose)
	}
	return fmt.Sprintf("%s %s; annotation %s: \"true\" takes it over", e.Name, whose, v1alpha1.AnnotationTransferHPAOwnership)
}

// steers leaves of an HPA what it steers.
func steers(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	hpa.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: hpa.Spec.ScaleTargetRef, MinReplicas: hpa.Spec.MinReplicas, MaxReplicas: hpa.Spec.MaxReplicas,
	}
}
