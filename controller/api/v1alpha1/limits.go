package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits bound what one object may ask for. Whoever may edit objects in one
// namespace shapes with them what every process that reads them holds.
type Limits struct {
	// Triggers is the most that an object may have.
	Triggers int
	// Parameters is the most that a trigger's metadata may have.
	Parameters int
	// TriggerBytes is what a trigger may have altogether, as JSON.
	TriggerBytes int
	// ObjectBytes is what the spec of an object may have, as JSON. A ScaledJob's
	// has the template of its Jobs.
	ObjectBytes int
	// References is the most that an authentication may name: Secrets, variables
	// and the like.
	References int
	// Jobs is the most that a ScaledJob may run, and keep of each outcome.
	Jobs int
}

// DefaultLimits are far above what anybody needs.
var DefaultLimits = Limits{
	Triggers: 100, Parameters: 100, TriggerBytes: 64 << 10, ObjectBytes: 256 << 10, References: 100, Jobs: 100_000,
}

// Flags are the flags that set the limits, with their defaults: integers above 0.
func (l *Limits) Flags(define func(into *int, name, usage string)) {
	define(&l.Triggers, "max-triggers", "triggers that one object may have")
	define(&l.Parameters, "max-parameters", "parameters that the metadata of one trigger may have")
	define(&l.TriggerBytes, "max-trigger-bytes", "bytes that one trigger may have, as JSON")
	define(&l.ObjectBytes, "max-object-bytes", "bytes that the spec of one object may have, as JSON")
	define(&l.References, "max-references", "Secrets, variables and the like that one TriggerAuthentication may name")
	define(&l.Jobs, "max-jobs", "maxReplicaCount of a ScaledJob, and Jobs that it may keep of each outcome")
}

// Check returns which limits are none.
func (l Limits) Check() error {
	var problems []error
	l.Flags(func(value *int, name, _ string) {
		if *value < 1 {
			problems = append(problems, fmt.Errorf("--%s: %d is not greater than 0", name, *value))
		}
	})
	return errors.Join(problems...)
}

// bytesOfValue is how large values of a spec are on average at least. Empty ones
// are small as JSON, and large once they are decoded.
const bytesOfValue = 50

// Transform cuts objects down before they are held in a cache. What is beyond a
// limit is not kept; instead the object says which limit, and its Validate does.
func (l Limits) Transform(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		cutUnread(o)
	}
	switch o := object.(type) {
	case *ScaledObject:
		l.CutScaledObject(o)
		cutStatus(&o.Status)
		o.Status.ExternalMetricNames = cutNames(o.Status.ExternalMetricNames)
	case *ScaledJob:
		l.CutScaledJob(o)
		cutStatus(&o.Status)
		o.Status.ExternalMetricNames = cutNames(o.Status.ExternalMetricNames)
	case *TriggerAuthentication:
		l.cutAuthentication(o, &o.Spec)
		cutStatus(&o.Status)
	case *ClusterTriggerAuthentication:
		l.cutAuthentication(o, &o.Spec)
		cutStatus(&o.Status)
	}
	return object, nil
}

// CutScaledObject leaves of a spec that exceeds a limit what does no harm: what
// is needed to let the object go.
func (l Limits) CutScaledObject(so *ScaledObject) {
	if so.Spec.Exceeds != "" {
		return
	}
	err := errors.Join(l.triggers(so.Spec.Triggers), l.whole(so.Spec), CutMetadata(so))
	if err == nil {
		return
	}
	so.Spec = so.Spec.harmless(err.Error(), func(ref any) bool { return l.whole(ref) == nil })
}

// harmless is what is needed of a spec to let the object go, and why there is no
// more. The reference to the target is there where it fits.
func (s ScaledObjectSpec) harmless(why string, fits func(ref any) bool) ScaledObjectSpec {
	kept := ScaledObjectSpec{MinReplicaCount: s.MinReplicaCount, MaxReplicaCount: s.MaxReplicaCount, IdleReplicaCount: s.IdleReplicaCount, Exceeds: why}
	if fits(s.ScaleTargetRef) {
		kept.ScaleTargetRef = s.ScaleTargetRef
	}
	if s.Advanced != nil {
		kept.Advanced = &AdvancedConfig{RestoreToOriginalReplicaCount: s.Advanced.RestoreToOriginalReplicaCount}
	}
	return kept
}

// CutScaledJob is CutScaledObject for a ScaledJob.
func (l Limits) CutScaledJob(sj *ScaledJob) {
	if sj.Spec.Exceeds != "" {
		return
	}
	err := errors.Join(l.triggers(sj.Spec.Triggers), l.jobs(sj), l.whole(sj.Spec), CutMetadata(sj))
	if err != nil {
		sj.Spec = ScaledJobSpec{MinReplicaCount: sj.Spec.MinReplicaCount, MaxReplicaCount: sj.Spec.MaxReplicaCount, Exceeds: err.Error()}
	}
}

// Authentication returns which limit a TriggerAuthentication exceeds.
func (l Limits) Authentication(spec TriggerAuthenticationSpec) error {
	return errors.Join(limited("spec", "references", count(spec), l.References, "max-references"), l.whole(spec))
}

// cutAuthentication drops one that exceeds a limit: families read it by
// themselves and say the same.
func (l Limits) cutAuthentication(o metav1.Object, spec *TriggerAuthenticationSpec) {
	if l.Authentication(*spec) != nil || CutMetadata(o) != nil {
		*spec = TriggerAuthenticationSpec{}
	}
}

func (l Limits) triggers(triggers []ScaleTrigger) error {
	if err := limited("triggers", "triggers", len(triggers), l.Triggers, "max-triggers"); err != nil {
		return err // each of so many need not be told of
	}
	var problems []error
	for i, t := range triggers {
		what := fmt.Sprintf("trigger %d (%.64s)", i, t.Type)
		problems = append(problems, limited(what, "parameters", len(t.Metadata), l.Parameters, "max-parameters"))
		text, err := json.Marshal(t)
		problems = append(problems, err, limited(what, "bytes", len(text), l.TriggerBytes, "max-trigger-bytes"))
	}
	return errors.Join(problems...)
}

func (l Limits) jobs(sj *ScaledJob) error {
	return errors.Join(
		limited("maxReplicaCount", "Jobs", int(sj.MaxJobs()), l.Jobs, "max-jobs"),
		limited("successfulJobsHistoryLimit", "Jobs", sj.SuccessfulJobsKept(), l.Jobs, "max-jobs"),
		limited("failedJobsHistoryLimit", "Jobs", sj.FailedJobsKept(), l.Jobs, "max-jobs"))
}

// whole bounds a part of an object, by what it has as text and by the number of
// its values.
func (l Limits) whole(part any) error {
	text, err := json.Marshal(part)
	if err != nil {
		return err
	}
	return errors.Join(
		limited("spec", "bytes", len(text), l.ObjectBytes, "max-object-bytes"),
		limited("spec", "values", values(text), l.ObjectBytes/bytesOfValue, "max-object-bytes"))
}

// values is how many values a JSON text has, about.
func values(text []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

// limited says which limit is exceeded, and how it is raised.
func limited(field, what string, have, most int, flag string) error {
	if have <= most {
		return nil
	}
	return fmt.Errorf("%s: %d %s, more than the %d that --%s lets it have", field, have, what, most, flag)
}

// count is how many things an authentication names.
func count(spec TriggerAuthenticationSpec) int {
	n := len(spec.SecretTargetRef) + len(spec.ConfigMapTargetRef) + len(spec.Env) + len(spec.BoundServiceAccountToken)
	if s := spec.HashiCorpVault; s != nil {
		n += len(s.Secrets)
	}
	if s := spec.AzureKeyVault; s != nil {
		n += len(s.Secrets)
	}
	if s := spec.AwsSecretManager; s != nil {
		n += len(s.Secrets)
	}
	if s := spec.GCPSecretManager; s != nil {
		n += len(s.Secrets)
	}
	return n
}
