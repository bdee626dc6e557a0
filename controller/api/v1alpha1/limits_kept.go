package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	// mostOfStub is what each part may have of an object that there is no room for.
	mostOfStub = 4 << 10
)

// lastApplied is kubectl's own copy of an object. Nobody else reads it, but HPAs
// have that of their ScaledObject, as all of its annotations.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// cutUnread leaves out of an object what nobody reads.
func cutUnread(o metav1.Object) {
	o.SetManagedFields(nil)
	if _, inHPA := o.(*ScaledObject); inHPA {
		return
	}
	if annotations := o.GetAnnotations(); annotations[lastApplied] != "" {
		annotations = maps.Clone(annotations)
		delete(annotations, lastApplied)
		o.SetAnnotations(annotations)
	}
}

// CutForeign leaves of the annotations of an object those that are ours or KEDA's.
func CutForeign(o metav1.Object) {
	annotations := maps.Clone(o.GetAnnotations())
	maps.DeleteFunc(annotations, func(key, _ string) bool {
		prefix, _, _ := strings.Cut(key, "/")
		return prefix != "sluice.dev" && prefix != "keda.sh" && !strings.HasSuffix(prefix, ".keda.sh")
	})
	o.SetAnnotations(annotations)
}

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
	cutMetadata(o, mostOfMetadata)
	return fmt.Errorf("metadata: more than %d annotations, or more labels, owners and finalizers than %d bytes", mostAnnotations, mostOfMetadata)
}

// cutMetadata leaves of metadata what tells what is to become of the object, and
// finalizers of so many bytes.
func cutMetadata(o metav1.Object, most int) {
	o.SetOwnerReferences(nil)
	o.SetLabels(only(o.GetLabels(), LabelScaledObjectName))
	o.SetAnnotations(only(o.GetAnnotations(), AnnotationPaused, AnnotationPausedReplicas, AnnotationHPAOwnership))
	if finalizers := o.GetFinalizers(); !Fits(finalizers, most) {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f != Finalizer }))
	}
}

// Stub leaves of an object that there is no room for what is needed to let it go,
// and says why as one does that exceeds a limit. Its HPA and its replicas stay as
// they are.
func (so *ScaledObject) Stub(why string) {
	StubMetadata(so)
	so.Spec = so.Spec.harmless(why, func(ref any) bool { return Fits(ref, mostOfStub) })
	if !Fits(so.Status, mostOfStub) {
		so.Status = ScaledObjectStatus{
			ScaleTargetKind: so.Status.ScaleTargetKind, ScaleTargetGVKR: so.Status.ScaleTargetGVKR,
			OriginalReplicaCount: so.Status.OriginalReplicaCount, PausedReplicaCount: so.Status.PausedReplicaCount, HpaName: so.Status.HpaName,
		}
	}
	StubPart(&so.Status)
}

// Stub is that of a ScaledObject.
func (sj *ScaledJob) Stub(why string) {
	StubMetadata(sj)
	sj.Spec = ScaledJobSpec{MinReplicaCount: sj.Spec.MinReplicaCount, MaxReplicaCount: sj.Spec.MaxReplicaCount, Exceeds: why}
	StubPart(&sj.Status)
}

// Stub leaves of an authentication that there is no room for its name. Families
// read it by themselves.
func (a *TriggerAuthentication) Stub(string) {
	StubMetadata(a)
	a.Spec = TriggerAuthenticationSpec{}
	StubPart(&a.Status)
}

// Stub is that of a TriggerAuthentication.
func (a *ClusterTriggerAuthentication) Stub(string) {
	StubMetadata(a)
	a.Spec = TriggerAuthenticationSpec{}
	StubPart(&a.Status)
}

// StubMetadata leaves of the metadata of an object that there is no room for what
// tells what is to become of it, and who controls it.
func StubMetadata(o metav1.Object) {
	owner := metav1.GetControllerOf(o)
	o.SetManagedFields(nil)
	cutMetadata(o, mostOfStub)
	if owner != nil && Fits(owner, mostOfStub) {
		o.SetOwnerReferences([]metav1.OwnerReference{*owner})
	}
	for key, value := range o.GetAnnotations() {
		o.GetAnnotations()[key] = value[:min(len(value), mostOfLabel)]
	}
}

// mostOfLabel is more than a value of a label, or a replica count, has.
const mostOfLabel = 64

// StubPart drops a part of an object that there is no room for, unless it is
// small.
func StubPart[P any](part *P) {
	if !Fits(*part, mostOfStub) {
		*part = *new(P)
	}
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
