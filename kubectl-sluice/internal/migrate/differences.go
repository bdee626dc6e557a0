package migrate

import (
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// difference is a row of "what differs" that manifests show: docs/scaledobject.md,
// docs/scaledjob.md and docs/authentication.md have all of them, and why.
type difference[T any] struct {
	field   string
	applies func(T) bool
	text    string
}

var ofScaledObject = []difference[*v1alpha1.ScaledObject]{
	{"minReplicaCount", leavesZero, "leaving zero goes straight to the size that the backlog asks for; annotation sluice.dev/activation: one has it go to 1 first"},
	{"fallback", func(so *v1alpha1.ScaledObject) bool { return so.Fallback() != nil }, "a failure is counted once per pollingInterval, so that the fallback begins later"},
	{"fallback.replicas", func(so *v1alpha1.ScaledObject) bool {
		f := so.Fallback()
		return f != nil && f.Replicas == 0 && so.MinReplicas() == 0
	}, "0 takes no target to zero: only fresh values do"},
	{"useCachedMetrics", func(so *v1alpha1.ScaledObject) bool {
		for _, t := range so.Spec.Triggers {
			if t.UseCachedMetrics && so.Fallback() != nil {
				return true
			}
		}
		return false
	}, "cached readings are never counted for the fallback"},
	{"advanced.scalingModifiers.formula", func(so *v1alpha1.ScaledObject) bool { return so.Modifiers() != nil }, "a formula that cannot be evaluated is an error that holds the replicas, and a negative result is 0"},
	{"advanced.scalingModifiers.target", func(so *v1alpha1.ScaledObject) bool {
		m := so.Modifiers()
		return m != nil && so.Fallback() != nil && strings.Contains(m.Target, ".")
	}, "a fraction does not switch the fallback off"},
	{"advanced.restoreToOriginalReplicaCount", (*v1alpha1.ScaledObject).RestoresOriginalReplicas, "what cannot be restored holds the deletion for a minute at most"},
	{"metadata.annotations", func(so *v1alpha1.ScaledObject) bool { return so.ScaleOutPaused() && so.MinReplicas() > 0 }, "a target below minReplicaCount is not repaired while paused-scale-out is set"},
}

// leavesZero is whether a target goes from zero to its backlog's size.
func leavesZero(so *v1alpha1.ScaledObject) bool {
	if one, err := so.ActivatesByOne(); one || err != nil || so.Modifiers() != nil || so.MinReplicas() > 0 && so.Spec.IdleReplicaCount == nil {
		return false
	}
	if b := so.HPABehavior(); b != nil && b.ScaleUp != nil && b.ScaleUp.StabilizationWindowSeconds != nil && *b.ScaleUp.StabilizationWindowSeconds > 0 {
		return false
	}
	for _, t := range so.Spec.Triggers {
		if !t.Builtin() && t.Type != "cron" && t.TargetType() == autoscalingv2.AverageValueMetricType {
			return true
		}
	}
	return false
}

// differences tells what of an object is read differently.
func differences(s *subject, so *v1alpha1.ScaledObject) {
	for _, d := range ofScaledObject {
		if d.applies(so) {
			s.find(Finding{Class: Differs, Field: d.field, Text: d.text})
		}
	}
	ofTriggers(s, so.PollingInterval())
}

var ofScaledJob = []difference[*v1alpha1.ScaledJob]{
	{"rollout.strategy", func(sj *v1alpha1.ScaledJob) bool {
		return sj.Spec.RolloutStrategy == "" && sj.Spec.Rollout.Strategy == ""
	},
		"not given, so that Jobs of an earlier spec run to their end when it changes; immediate deletes them, as KEDA does"},
}

func jobDifferences(s *subject, sj *v1alpha1.ScaledJob) {
	for _, d := range ofScaledJob {
		if d.applies(sj) {
			s.find(Finding{Class: Differs, Field: d.field, Text: d.text})
		}
	}
	ofTriggers(s, sj.PollingInterval())
}

// ofType are differences of trigger types, by the parameter that shows them.
var ofType = []struct {
	types     string // that begin so
	parameter string
	applies   func(value string, metadata map[string]string) bool
	text      string
}{
	{"gcp-", "credentialsFromEnvFile", given, "is read, as far as --readable-files of the family lists the file"},
	{"gcp-stackdriver", "filter", func(value string, _ map[string]string) bool { return strings.Contains(value, " OR ") }, "an OR does not look beyond the project: the filter is put in braces"},
	{"azure-log-analytics", "timeout", given, "is taken as it is given"},
	{"azure-data-explorer", "timeout", given, "bounds a query, on the side of the cluster too"},
	{"azure-app-insights", "ignoreNullValues", func(value string, _ map[string]string) bool { return value == "true" }, "null alone is 0; a metric or an aggregation that the answer lacks is an error"},
	{"azure-", "cloud", func(value string, _ map[string]string) bool { return value == "Private" }, "counts for this trigger alone, and has its Entra by activeDirectoryEndpoint"},
	{"datadog", "useClusterAgentProxy", func(value string, _ map[string]string) bool { return value == "true" }, "the HPA's metric has the prefix of all others, s<index>-datadogmetric@<namespace>:<name>"},
	{"datadog", "lastAvailablePointOffset", func(_ string, m map[string]string) bool { return m["metricUnavailableValue"] != "" }, "a series without points is metricUnavailableValue, and no error"},
}

func given(value string, _ map[string]string) bool { return value != "" }

// longestRead is what a read may take at most by default: --max-read-timeout.
const longestRead = time.Minute

// ofTriggers tells what of the triggers of an object is read differently.
func ofTriggers(s *subject, polling time.Duration) {
	for i, t := range s.triggers {
		for _, d := range ofType {
			if value, is := t.Metadata[d.parameter]; is && strings.HasPrefix(t.Type, d.types) && d.applies(value, t.Metadata) {
				s.of(i, Differs, d.parameter, "%s", d.text)
			}
		}
		if d, err := time.ParseDuration(t.Metadata["timeout"]); err == nil && d > longestRead && d > polling {
			s.of(i, Differs, "timeout", "%s is longer than the %s that --max-read-timeout of the family lets a read take", d, longestRead)
		}
	}
}

// authenticationDifferences tells what of an authentication is read differently.
func authenticationDifferences(o *Object, spec v1alpha1.TriggerAuthenticationSpec) {
	differs := func(is bool, field, text string) {
		if is {
			o.find(Finding{Class: Differs, Field: field, Text: text})
		}
	}
	if s := spec.AzureKeyVault; s != nil {
		differs(s.Cloud != nil, "azureKeyVault.cloud", "is honoured")
	}
	if s := spec.AwsSecretManager; s != nil {
		differs(s.Credentials != nil && s.Credentials.AccessToken != nil, "awsSecretManager.credentials.accessToken", "is honoured")
	}
	if id := spec.PodIdentity; id != nil && id.IdentityAuthorityHost != nil && *id.IdentityAuthorityHost != "" {
		differs(true, "podIdentity.identityAuthorityHost", "is honoured for Azure's clouds, AZURE_AUTHORITY_HOST of the family and hosts in its --identity-hosts")
	}
}
