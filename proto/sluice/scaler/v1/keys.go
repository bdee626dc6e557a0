package scalerv1

import "strings"

// ReservedPrefix starts every key that the core adds to a trigger's metadata.
// A user's own keys with this prefix are dropped.
const ReservedPrefix = "sluice.dev/"

// Reserved keys. They are sent only to scalers that serve ScalerService, may
// be given by hand to a family, and are stripped before a trigger reads its
// parameters. None of them ever carries a secret.
const (
	// KeyTriggerType is the text of spec.triggers[].type.
	KeyTriggerType = ReservedPrefix + "triggerType"
	// KeyTriggerName is spec.triggers[].name.
	KeyTriggerName = ReservedPrefix + "triggerName"
	// KeyTriggerIndex is the position in spec.triggers, from 0.
	KeyTriggerIndex = ReservedPrefix + "triggerIndex"
	// KeyKind is KindScaledObject or KindScaledJob.
	KeyKind = ReservedPrefix + "kind"
	// KeyGeneration is metadata.generation of the object.
	KeyGeneration = ReservedPrefix + "generation"
	// KeyPollingInterval is the object's, as a Go duration.
	KeyPollingInterval = ReservedPrefix + "pollingInterval"
	// KeyMetricType is spec.triggers[].metricType.
	KeyMetricType = ReservedPrefix + "metricType"
	// KeyMetricSource is "true" when the trigger only feeds a formula.
	KeyMetricSource = ReservedPrefix + "metricSource"
	// KeyUseCachedMetrics is spec.triggers[].useCachedMetrics.
	KeyUseCachedMetrics = ReservedPrefix + "useCachedMetrics"
	// KeyNoData is what a reading without data becomes, NoDataHold, NoDataError
	// or NoDataZero, in place of the trigger's own rule.
	KeyNoData = ReservedPrefix + "noData"
	// KeyMode is ModeIdle or ModeActive.
	KeyMode = ReservedPrefix + "mode"
	// KeyServiceAccount is the workload's service account.
	KeyServiceAccount = ReservedPrefix + "serviceAccount"
	// KeyAuthenticationRef is "TriggerAuthentication/<name>" or
	// "ClusterTriggerAuthentication/<name>".
	KeyAuthenticationRef = ReservedPrefix + "authenticationRef"
	// KeyEnv has the variables that the trigger names, as EncodeEnv writes
	// them.
	KeyEnv = ReservedPrefix + "env"
	// KeyContainers has the environments of all containers of the scale target,
	// as EncodeContainers writes them. It comes with KeyAuthenticationRef: only
	// the family knows which variables the authentication object names.
	KeyContainers = ReservedPrefix + "containers"
	// KeySecretKeyRef has spec.triggers[].secretKeyRef, as EncodeKeyRefs writes
	// it.
	KeySecretKeyRef = ReservedPrefix + "secretKeyRef"
)

// Values of KeyKind.
const (
	KindScaledObject = "ScaledObject"
	KindScaledJob    = "ScaledJob"
)

// Values of KeyNoData.
const (
	// NoDataHold keeps the value before it.
	NoDataHold = "hold"
	// NoDataError makes it a failure.
	NoDataError = "error"
	// NoDataZero makes it the value 0.
	NoDataZero = "zero"
)

// Values of KeyMode.
const (
	ModeIdle   = "idle"
	ModeActive = "active"
)

// HeaderMaxAge is the gRPC header of GetMetrics with the longest age, a Go duration,
// that the reading behind the answer should have: who asks knows of one that is no
// older. A family that cannot read its source in time answers with what it has.
const HeaderMaxAge = "sluice-max-age"

// FromEnvSuffix turns a parameter's key into the key that names an environment
// variable to take the value from.
const FromEnvSuffix = "FromEnv"

// fromEnvFileSuffix ends the keys of parameters that name, by themselves, an
// environment variable with the path of a file.
const fromEnvFileSuffix = "FromEnvFile"

// EnvKey is the key that names the environment variable of a parameter.
func EnvKey(parameter string) string {
	if strings.HasSuffix(parameter, fromEnvFileSuffix) {
		return parameter
	}
	return parameter + FromEnvSuffix
}

// NamesVariable reports whether a key's value is the name of an environment
// variable.
func NamesVariable(key string) bool {
	return strings.HasSuffix(key, FromEnvSuffix) || strings.HasSuffix(key, fromEnvFileSuffix)
}

// NameVariable reports whether any of the keys of metadata names an environment
// variable.
func NameVariable(metadata map[string]string) bool {
	for key := range metadata {
		if NamesVariable(key) {
			return true
		}
	}
	return false
}

// IsReserved reports whether key belongs to the core.
func IsReserved(key string) bool { return strings.HasPrefix(key, ReservedPrefix) }
