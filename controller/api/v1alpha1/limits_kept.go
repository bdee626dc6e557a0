package v1alpha1

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a cache keeps of one object beside its spec. The API server bounds the
// whole of it, at a few MiB that become many times as much once they are
// decoded. Whoever may edit an object may write its status, too.
const (
	// mostOfMetadata is what labels, owners and finalizers may have, as JSON.
	mostOfMetadata = 64 << 10
	// mostAnnotations is how many there may be; the API server bounds what they
	// have.
	mostAnnotations = 1000
	// MostMetricsOfTrigger and MostMetrics are how many metrics a trigger, and all
	// triggers of an object together, may have.
	MostMetricsOfTrigger = 100
	MostMetrics          = 1000
	// mostOfStatus is far more than an object within its limits has.
	mostOfStatus = 512 << 10
)

// Fits reports whether a part of an object is small enough to be kept: by what it
// has as text, and by the number of its values.
func Fits(part any, most int) bool {
	text, err := json.Marshal(part)
	return err == nil && len(text) <= most && values(text) <= most/bytesOfValue
}

// CutMetadata leaves of metadata that are too large what tells what is to become
// of the object. The error says what there was too much of.
func CutMetadata(o metav1.Object) error {
	labels, finalizers, annotations := o.GetLabels(), o.GetFinalizers(), o.GetAnnotations()
	if len(annotations) <= mostAnnotations && Fits([]any{labels, finalizers, o.GetOwnerReferences()}, mostOfMetadata) {
		return nil
	}
	o.SetOwnerReferences(nil)
	o.SetLabels(only(labels, LabelScaledObjectName))
	o.SetAnnotations(only(annotations, AnnotationPaused, AnnotationPausedReplicas))
	if !Fits(finalizers, mostOfMetadata) {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f != Finalizer }))
	}
	return fmt.Errorf("metadata: more than %d annotations, or more labels, owners and finalizers than %d bytes", mostAnnotations, mostOfMetadata)
}

func only(of map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, ok := of[key]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}

// cutStatus drops a status that is too large to be one of ours. The next verdict
// replaces it.
func cutStatus[S any](status *S) {
	if !Fits(*status, mostOfStatus) {
		*status = *new(S)
	}
}

// cutNames leaves of the names of metrics as many as an object may have. Each is
// asked for, and counted.
func cutNames(names []string) []string {
	if len(names) > MostMetrics {
		return slices.Clone(names[:MostMetrics])
	}
	return names
}
