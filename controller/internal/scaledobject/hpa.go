package scaledobject

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// maxLabelLength is the longest value of a label.
const maxLabelLength = 63

// desiredHPA is the whole HPA of an object, as spec section 6 says: metrics in
// the order of their source types, and the annotation that remembers what they
// were built from.
func desiredHPA(so *v1alpha1.ScaledObject, target v1alpha1.GroupVersionKindResource, built metrics, version string) *autoscalingv2.HorizontalPodAutoscaler {
	gv := target.Version
	if target.Group != "" {
		gv = target.Group + "/" + target.Version
	}
	annotations := maps.Clone(so.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationSpecs] = built.hashes
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Name:            so.HPAName(),
			Namespace:       so.Namespace,
			Labels:          hpaLabels(so, version),
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{owner(so)},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				Kind: target.Kind, APIVersion: gv, Name: so.Spec.ScaleTargetRef.Name,
			},
			MinReplicas: ptr.To(so.HPAMinReplicas()),
			MaxReplicas: so.MaxReplicas(),
			Behavior:    behavior(so),
			Metrics:     inOrder(built.specs),
		},
	}
}

func owner(so *v1alpha1.ScaledObject) metav1.OwnerReference {
	return *metav1.NewControllerRef(so, v1alpha1.GroupVersion.WithKind("ScaledObject"))
}

// hpaLabels are the four of spec section 3.2, overlaid by the object's own.
func hpaLabels(so *v1alpha1.ScaledObject, version string) map[string]string {
	labels := map[string]string{
		"app.kubernetes.io/name":       labelValue(so.HPAName()),
		"app.kubernetes.io/version":    labelValue(version),
		"app.kubernetes.io/part-of":    labelValue(so.Name),
		"app.kubernetes.io/managed-by": "keda-operator",
	}
	excluded := so.HPAExcludedLabels()
	for key, value := range so.Labels {
		if !slices.Contains(excluded, key) {
			labels[key] = value
		}
	}
	return labels
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
// desired until something else differs; then they go, as in KEDA (spec section
// 5.5). Owner and spec are exactly the desired ones.
func merge(live, desired *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
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

func contains(all, some map[string]string) bool {
	for key, value := range some {
		if have, ok := all[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// mayOwn refuses an HPA that somebody else made, unless the user said that it
// is to be taken over.
func mayOwn(so *v1alpha1.ScaledObject, live *autoscalingv2.HorizontalPodAutoscaler) error {
	current := metav1.GetControllerOf(live)
	switch {
	case current != nil && current.UID == so.UID:
		return nil
	case so.TransfersHPAOwnership():
		return nil
	case current != nil:
		return fmt.Errorf("%s belongs to %s %s; annotation %s: \"true\" takes it over",
			live.Name, current.Kind, current.Name, v1alpha1.AnnotationTransferHPAOwnership)
	}
	return fmt.Errorf("%s exists and was not made for this object; annotation %s: \"true\" takes it over",
		live.Name, v1alpha1.AnnotationTransferHPAOwnership)
}
