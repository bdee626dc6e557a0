package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	defaultPollingInterval = 30 * time.Second
	defaultCooldownPeriod  = 300 * time.Second
	defaultMaxReplicas     = 100
	// defaultFailureThreshold stands for fallbacks, which need not give one.
	defaultFailureThreshold = 3
	defaultTargetAPIVersion = "apps/v1"
	defaultTargetKind       = "Deployment"
	defaultHPAPrefix        = "keda-hpa-"
)

// PollingInterval is the time between two readings. Default 30 s.
func (so *ScaledObject) PollingInterval() time.Duration {
	return seconds(so.Spec.PollingInterval, defaultPollingInterval)
}

// CooldownPeriod is the time without activity before going to zero or idle.
// Default 300 s.
func (so *ScaledObject) CooldownPeriod() time.Duration {
	return seconds(so.Spec.CooldownPeriod, defaultCooldownPeriod)
}

// InitialCooldownPeriod is the time after creation in which an object that was
// never active keeps its replicas. Default 0.
func (so *ScaledObject) InitialCooldownPeriod() time.Duration {
	return seconds(so.Spec.InitialCooldownPeriod, 0)
}

// MinReplicas is the lower bound. Default 0.
func (so *ScaledObject) MinReplicas() int32 { return orElse(so.Spec.MinReplicaCount, 0) }

// MaxReplicas is the upper bound. Default 100.
func (so *ScaledObject) MaxReplicas() int32 {
	return orElse(so.Spec.MaxReplicaCount, defaultMaxReplicas)
}

// HPAMinReplicas is the lower bound of the HPA, which knows no zero.
func (so *ScaledObject) HPAMinReplicas() int32 { return max(so.MinReplicas(), 1) }

// HPAName is the name of the object's HPA: the user's, or one made of the
// object's.
func (so *ScaledObject) HPAName() string {
	if given := so.GivenHPAName(); given != "" {
		return given
	}
	return fitted(defaultHPAPrefix + so.Name)
}

// GivenHPAName is the name that the user gave to the HPA, "" without one.
func (so *ScaledObject) GivenHPAName() string {
	if c := so.hpaConfig(); c != nil {
		return c.Name
	}
	return ""
}

// LongestLabel is what a label's value may have: the object's name and its HPA's
// become some.
const LongestLabel = 63

// fitted is a name that a label may have, too: one that is too long ends in a
// hash of all of it.
func fitted(name string) string {
	if len(name) <= LongestLabel {
		return name
	}
	hash := "-" + shortHash([]byte(name))
	return strings.TrimRight(name[:LongestLabel-len(hash)], "-.") + hash
}

// HPABehavior is the behavior given by the user, nil when there is none. The
// caller must not change it.
func (so *ScaledObject) HPABehavior() *autoscalingv2.HorizontalPodAutoscalerBehavior {
	if c := so.hpaConfig(); c != nil {
		return c.Behavior
	}
	return nil
}

func (so *ScaledObject) hpaConfig() *HorizontalPodAutoscalerConfig {
	if so.Spec.Advanced == nil {
		return nil
	}
	return so.Spec.Advanced.HorizontalPodAutoscalerConfig
}

// RestoresOriginalReplicas reports whether deletion puts the target back to
// its first replica count.
func (so *ScaledObject) RestoresOriginalReplicas() bool {
	return so.Spec.Advanced != nil && so.Spec.Advanced.RestoreToOriginalReplicaCount
}

// Modifiers returns the scalingModifiers, nil unless one field is not empty.
func (so *ScaledObject) Modifiers() *ScalingModifiers {
	if so.Spec.Advanced == nil {
		return nil
	}
	m := so.Spec.Advanced.ScalingModifiers
	if m == nil || *m == (ScalingModifiers{}) {
		return nil
	}
	return m
}

// Fallback returns the fallback in force, nil when there is none: fallback, or
// else the first of fallbacks. Its Behavior is never empty.
func (so *ScaledObject) Fallback() *Fallback {
	var f Fallback
	switch {
	case so.Spec.Fallback != nil:
		f = *so.Spec.Fallback
	case len(so.Spec.Fallbacks) > 0:
		first := so.Spec.Fallbacks[0]
		f.Replicas = first.Replicas
		f.FailureThreshold = orElse(first.FailureThreshold, defaultFailureThreshold)
	default:
		return nil
	}
	if f.Behavior == "" {
		f.Behavior = FallbackStatic
	}
	return &f
}

// OnlyBuiltins reports whether every trigger is cpu or memory. Such an object
// is always active.
func (so *ScaledObject) OnlyBuiltins() bool {
	return !slices.ContainsFunc(so.Spec.Triggers, func(t ScaleTrigger) bool { return !t.Builtin() })
}

// TriggersTypes are the distinct trigger types in order, joined by commas.
func (so *ScaledObject) TriggersTypes() string { return triggersTypes(so.Spec.Triggers) }

// AuthenticationsTypes are the distinct names of authentications in order,
// joined by commas. Names, not types, as in KEDA.
func (so *ScaledObject) AuthenticationsTypes() string { return authenticationsTypes(so.Spec.Triggers) }

func triggersTypes(triggers []ScaleTrigger) string {
	return distinct(triggers, func(t ScaleTrigger) string { return t.Type })
}

func authenticationsTypes(triggers []ScaleTrigger) string {
	return distinct(triggers, func(t ScaleTrigger) string {
		if t.AuthenticationRef == nil {
			return ""
		}
		return t.AuthenticationRef.Name
	})
}

func distinct(triggers []ScaleTrigger, of func(ScaleTrigger) string) string {
	var seen []string
	for _, t := range triggers {
		if s := of(t); s != "" && !slices.Contains(seen, s) {
			seen = append(seen, s)
		}
	}
	return strings.Join(seen, ",")
}

// TargetAPIVersion is the apiVersion of the target. Default apps/v1.
func (t ScaleTarget) TargetAPIVersion() string {
	if t.APIVersion == "" {
		return defaultTargetAPIVersion
	}
	return t.APIVersion
}

// TargetKind is the kind of the target. Default Deployment.
func (t ScaleTarget) TargetKind() string {
	if t.Kind == "" {
		return defaultTargetKind
	}
	return t.Kind
}

// Builtin reports whether the controller serves the trigger itself (cpu and
// memory): as a metric of the HPA, without a Service.
func (t ScaleTrigger) Builtin() bool { return t.Type == "cpu" || t.Type == "memory" }

// hashLength is the number of hex digits of a hash: enough to tell the versions
// of one trigger apart, and names of one namespace.
const hashLength = 10

// Hash tells whether a trigger is what it was. It is stored in annotations.
func (t ScaleTrigger) Hash() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // strings and a bool cannot fail to be encoded
	}
	return shortHash(text)
}

func shortHash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:hashLength]
}

// Cacheable reports whether useCachedMetrics may be set.
func (t ScaleTrigger) Cacheable() bool { return !t.Builtin() && t.Type != "cron" }

// TargetType is the metricType of a trigger that a family serves. Default
// AverageValue, or what the type in the metadata of a datadog trigger meant once.
func (t ScaleTrigger) TargetType() autoscalingv2.MetricTargetType {
	switch {
	case t.MetricType != "":
		return t.MetricType
	case t.Type == "datadog" && strings.EqualFold(strings.TrimSpace(t.Metadata["type"]), "global"):
		return autoscalingv2.ValueMetricType
	default:
		return autoscalingv2.AverageValueMetricType
	}
}

// TargetType is the metricType of the computed metric. Default AverageValue.
func (m *ScalingModifiers) TargetType() autoscalingv2.MetricTargetType {
	if m.MetricType == "" {
		return autoscalingv2.AverageValueMetricType
	}
	return m.MetricType
}

// AuthenticationKind is the kind of the authentication. Default
// TriggerAuthentication.
func (r AuthenticationRef) AuthenticationKind() string {
	if r.Kind == "" {
		return "TriggerAuthentication"
	}
	return r.Kind
}

// String is <group>/<version>.<Kind>, as status.scaleTargetKind shows it.
func (g GroupVersionKindResource) String() string {
	return g.Group + "/" + g.Version + "." + g.Kind
}

// GVK is the kind without its resource.
func (g GroupVersionKindResource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: g.Group, Version: g.Version, Kind: g.Kind}
}

// Means reports whether a reference is to this kind: by its name or by its
// resource's, in whatever case. Versions of a group have the same objects.
func (g GroupVersionKindResource) Means(ref ScaleTarget) bool {
	gv, err := schema.ParseGroupVersion(ref.TargetAPIVersion())
	kind := ref.TargetKind()
	return err == nil && gv.Group == g.Group && (strings.EqualFold(kind, g.Kind) || strings.EqualFold(kind, g.Resource))
}

// TargetKind is the kind that the object scales, as the API server calls it once
// the controller has found that out, and as the user does before.
func (so *ScaledObject) TargetKind() schema.GroupVersionKind {
	ref := so.Spec.ScaleTargetRef
	if known := so.Status.ScaleTargetGVKR; known != nil && known.Means(ref) {
		return known.GVK()
	}
	return schema.FromAPIVersionAndKind(ref.TargetAPIVersion(), ref.TargetKind())
}

func seconds(given *int32, otherwise time.Duration) time.Duration {
	if given == nil {
		return otherwise
	}
	return time.Duration(*given) * time.Second
}

func orElse(given *int32, otherwise int32) int32 {
	if given == nil {
		return otherwise
	}
	return *given
}

// Unused names settings that only matter between zero or idle and one, on an
// object that never goes there.
func (so *ScaledObject) Unused() []string {
	lo := so.MinReplicas()
	if lo == 0 || so.Spec.IdleReplicaCount != nil {
		return nil
	}
	cached := func(t ScaleTrigger) bool { return t.UseCachedMetrics }
	var unused []string
	if so.Spec.PollingInterval != nil && !slices.ContainsFunc(so.Spec.Triggers, cached) {
		unused = append(unused, fmt.Sprintf(
			"pollingInterval: has no effect with minReplicaCount %d, without idleReplicaCount and without a trigger that has useCachedMetrics", lo))
	}
	if so.Spec.CooldownPeriod != nil {
		unused = append(unused, fmt.Sprintf("cooldownPeriod: has no effect with minReplicaCount %d and without idleReplicaCount", lo))
	}
	return unused
}
