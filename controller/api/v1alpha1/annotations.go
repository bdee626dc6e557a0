package v1alpha1

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Annotations of ScaledObjects and ScaledJobs, KEDA's and, with prefix
// sluice.dev/, ours.
const (
	AnnotationPaused          = "autoscaling.keda.sh/paused"
	AnnotationPausedReplicas  = "autoscaling.keda.sh/paused-replicas"
	AnnotationPausedScaleIn   = "autoscaling.keda.sh/paused-scale-in"
	AnnotationPausedScaleOut  = "autoscaling.keda.sh/paused-scale-out"
	AnnotationForceActivation = "autoscaling.keda.sh/force-activation"

	AnnotationTransferHPAOwnership = "scaledobject.keda.sh/transfer-hpa-ownership"
	AnnotationHPAExcludedLabels    = "scaledobject.keda.sh/hpa-excluded-labels"
	// AnnotationHPAOwnership stands on an HPA: "false" keeps it out of the
	// search for conflicts.
	AnnotationHPAOwnership = "validations.keda.sh/hpa-ownership"

	AnnotationActivation          = "sluice.dev/activation"
	AnnotationDoorbell            = "sluice.dev/doorbell"
	AnnotationIdlePollingInterval = "sluice.dev/idle-polling-interval"
	AnnotationNoData              = "sluice.dev/no-data"
	AnnotationWakeObjective       = "sluice.dev/wake-objective"
	AnnotationHPANudge            = "sluice.dev/hpa-nudge"
	// AnnotationPauseReason says in words why somebody paused an object. Nothing
	// depends on it.
	AnnotationPauseReason = "sluice.dev/pause-reason"
	// AnnotationSecretNamespace stands on a ClusterTriggerAuthentication: with
	// SecretNamespaceOfObject what it names is of the namespace of the object
	// that uses it.
	AnnotationSecretNamespace = "sluice.dev/secret-namespace"
	// AnnotationSpecs stands on an HPA: the hash of what its metrics were built
	// from.
	AnnotationSpecs = "sluice.dev/specs"
)

// SecretNamespaceOfObject is the one value of AnnotationSecretNamespace.
const SecretNamespaceOfObject = "object"

const (
	// LabelScaledObjectName is put on the ScaledObject; the HPA selects its
	// external metrics by it.
	LabelScaledObjectName = "scaledobject.keda.sh/name"
	// LabelNudge is beside it in that selector. It selects nothing: whoever changes
	// it has the HPA look at its metrics at once.
	LabelNudge = "sluice.dev/nudge"
	// Finalizer is put on every object that needs an orderly end.
	Finalizer = "finalizer.keda.sh"
)

// Paused reports whether scaling is stopped altogether: by annotation paused,
// or by the presence of paused-replicas, which wins over paused: "false".
func (so *ScaledObject) Paused() bool {
	_, withCount := so.Annotations[AnnotationPausedReplicas]
	return withCount || flag(so.Annotations, AnnotationPaused)
}

// PausedReplicas returns the count that annotation paused-replicas asks for,
// nil without the annotation. A count that is not one is an error that names
// the annotation.
func (so *ScaledObject) PausedReplicas() (*int32, error) {
	text, ok := so.Annotations[AnnotationPausedReplicas]
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("annotation %s: %q is not a replica count", AnnotationPausedReplicas, text)
	}
	count := int32(n)
	return &count, nil
}

// ScaleInPaused reports whether replicas must not be reduced.
func (so *ScaledObject) ScaleInPaused() bool { return flag(so.Annotations, AnnotationPausedScaleIn) }

// ScaleOutPaused reports whether replicas must not be increased.
func (so *ScaledObject) ScaleOutPaused() bool { return flag(so.Annotations, AnnotationPausedScaleOut) }

// ForceActivation reports whether the object is active whatever its triggers
// say.
func (so *ScaledObject) ForceActivation() bool {
	return flag(so.Annotations, AnnotationForceActivation)
}

// TransfersHPAOwnership reports whether the object may take over an HPA.
func (so *ScaledObject) TransfersHPAOwnership() bool {
	return so.Annotations[AnnotationTransferHPAOwnership] == "true"
}

// HPAExcludedLabels are the keys of labels that are not copied to the HPA.
// Keys are not trimmed, as in KEDA.
func (so *ScaledObject) HPAExcludedLabels() sets.Set[string] {
	return separated(so.Annotations[AnnotationHPAExcludedLabels])
}

// ActivatesByOne reports whether leaving zero goes to one replica, or to
// minReplicaCount, as in KEDA, instead of straight to the size that the backlog
// asks for: annotation activation with value one. Another value is an error.
func (so *ScaledObject) ActivatesByOne() (bool, error) {
	switch text, ok := so.Annotations[AnnotationActivation]; {
	case !ok:
		return false, nil
	case text != "one":
		return false, fmt.Errorf("annotation %s: %q is not one", AnnotationActivation, text)
	}
	return true, nil
}

// Doorbell reports whether the user switched doorbells on or off; nil leaves
// it to the trigger. A value other than on and off is an error.
func (so *ScaledObject) Doorbell() (*bool, error) { return doorbell(so.Annotations) }

func doorbell(annotations map[string]string) (*bool, error) {
	var on bool
	switch text, ok := annotations[AnnotationDoorbell]; {
	case !ok:
		return nil, nil
	case text == "on":
		on = true
	case text != "off":
		return nil, fmt.Errorf("annotation %s: %q is neither on nor off", AnnotationDoorbell, text)
	}
	return &on, nil
}

// shortestIdlePoll keeps a typing error from turning into a flood of reads.
const shortestIdlePoll = 100 * time.Millisecond

// IdlePollingInterval is the time between two readings while at zero or idle:
// the annotation, a Go duration such as 2s, else the polling interval.
func (so *ScaledObject) IdlePollingInterval() (time.Duration, error) {
	return idlePollingInterval(so.Annotations, so.PollingInterval())
}

func idlePollingInterval(annotations map[string]string, otherwise time.Duration) (time.Duration, error) {
	text, ok := annotations[AnnotationIdlePollingInterval]
	if !ok {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < shortestIdlePoll {
		return otherwise, fmt.Errorf("annotation %s: %q is not a duration of at least %v, such as 2s",
			AnnotationIdlePollingInterval, text, shortestIdlePoll)
	}
	return d, nil
}

// NudgesHPA reports whether the HPA may be made to look at its metrics at once:
// unless annotation hpa-nudge has value off. Another value than on and off is an
// error.
func (so *ScaledObject) NudgesHPA() (bool, error) {
	switch text, ok := so.Annotations[AnnotationHPANudge]; {
	case !ok, text == "on":
		return true, nil
	case text != "off":
		return true, fmt.Errorf("annotation %s: %.64q is neither on nor off", AnnotationHPANudge, text)
	}
	return false, nil
}

// WakeObjective is how soon work is to have its replicas after it arrived at rest,
// 0 where the user does not say: a Go duration such as 2s.
func (so *ScaledObject) WakeObjective() (time.Duration, error) {
	text, ok := so.Annotations[AnnotationWakeObjective]
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("annotation %s: %.64q is not a duration above 0, such as 2s", AnnotationWakeObjective, text)
	}
	return d, nil
}

// NoData is what the user wants "no data" to become: hold, error or zero; ""
// leaves it to the installation. Another value is an error.
func (so *ScaledObject) NoData() (string, error) { return noData(so.Annotations) }

func noData(annotations map[string]string) (string, error) {
	text, ok := annotations[AnnotationNoData]
	if !ok {
		return "", nil
	}
	if err := CheckNoData(text); err != nil {
		return "", fmt.Errorf("annotation %s: %q is %w", AnnotationNoData, text, err)
	}
	return text, nil
}

// CheckNoData is nil for what "no data" may become.
func CheckNoData(rule string) error {
	switch rule {
	case "hold", "error", "zero":
		return nil
	}
	return errors.New("none of hold, error, zero")
}

// AnnotationProblems are those of the annotations that do without when they
// cannot be understood: the trigger or the installation decides then.
func (so *ScaledObject) AnnotationProblems() []error {
	_, activation := so.ActivatesByOne()
	_, doorbell := so.Doorbell()
	_, idle := so.IdlePollingInterval()
	_, noData := so.NoData()
	_, objective := so.WakeObjective()
	_, nudge := so.NudgesHPA()
	return slices.DeleteFunc([]error{activation, doorbell, idle, noData, objective, nudge}, func(err error) bool { return err == nil })
}

// flag reads a bool annotation. Absent is false; text that is no bool, the
// empty string included, counts as true: whoever set a switch meant it
// (KEDA's rule).
func flag(annotations map[string]string, key string) bool {
	text, ok := annotations[key]
	if !ok {
		return false
	}
	on, err := strconv.ParseBool(text)
	return err != nil || on
}

// separated splits a list at commas without trimming its parts. It is a set,
// since both an annotation and the labels that are looked up in it may be long.
func separated(text string) sets.Set[string] {
	if text == "" {
		return nil
	}
	return sets.New(strings.Split(text, ",")...)
}
