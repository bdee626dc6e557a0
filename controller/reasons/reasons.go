// Package reasons says of each reason that a condition or an event of Sluice can
// have what it means, what causes it and what to do: the one list that pages and
// programs show. A test finds each reason that the code uses in it.
package reasons

import (
	"regexp"
	"strings"
)

// A Reason is one word in status.conditions[].reason, or in an event.
type Reason struct {
	Name string
	// Seen is where it stands: conditions with their status, events with their
	// type.
	Seen []string
	// Cause is why it is there, Cure what to do; the latter is empty where all is
	// as it should be.
	Cause, Cure string
}

// A Group is the reasons of one kind of object or condition.
type Group struct {
	Title, Text string
	Reasons     []Reason
}

// Find returns the reason of a name.
func Find(name string) (Reason, bool) {
	for _, group := range Groups {
		for _, r := range group.Reasons {
			if r.Name == name {
				return r, true
			}
		}
	}
	return Reason{}, false
}

// Advice is the cure, with that of the reason in it that it refers to: "As for X."
func (r Reason) Advice() string {
	parts := refers.FindStringSubmatch(r.Cure)
	if parts == nil {
		return r.Cure
	}
	other, known := Find(parts[1])
	if !known {
		return r.Cure
	}
	if rest := parts[2]; rest != "" {
		return other.Advice() + " " + strings.ToUpper(rest[:1]) + rest[1:]
	}
	return other.Advice()
}

// refers is a cure that begins with another reason's, and what follows that.
var refers = regexp.MustCompile(`^As (?:for )?([A-Z]\w+)[.;] ?(.*)$`)

const (
	normalEvent  = "event, Normal"
	warningEvent = "event, Warning"
)

// byItself is the end of many cures.
const byItself = " It is looked at again by itself; nothing has to be restarted."

// Groups are all reasons, in the order in which a reader looks for them.
var Groups = []Group{
	{
		Title: "Ready",
		Text:  "Whether the object can be scaled as it stands, and whether its triggers are read. It is the worst of what there is to say.",
		Reasons: []Reason{
			{
				Name: "ScaledObjectReady", Seen: []string{"Ready True", normalEvent},
				Cause: "The object is right and its triggers are read. It stays so while a fallback waits or stands in for a trouble that may pass.",
			},
			{
				Name: "ScaledJobReady", Seen: []string{"Ready True", normalEvent},
				Cause: "As for a ScaledObject. While many Jobs are created the message says how far that is.",
			},
			{
				Name: "TriggerError", Seen: []string{"Ready False"},
				Cause: "No trigger is active, and at least one cannot be read: no family serves its type, the family may not read a Secret, the source refuses or does not answer, a parameter is wrong, or a formula cannot be evaluated. Replicas stay as they are; nothing goes to zero.",
				Cure:  "The message names trigger, parameter, Service or Secret; a missing right comes with the command that grants it." + byItself,
			},
			{
				Name: "PartialTriggerError", Seen: []string{"Ready Unknown", "Ready False"},
				Cause: "Some triggers are read and scale the target, others fail. It is Unknown while waiting may help, for ten minutes at most, and False after that, or at once where the source refuses the login or does not have what is asked for.",
				Cure:  "As for TriggerError. The triggers that work go on meanwhile; the target is not scaled in below what the failing one had asked for.",
			},
			{
				Name: "ScaledObjectCheckFailed", Seen: []string{"Ready False", warningEvent},
				Cause: "The object cannot be scaled as it stands. Its target is not there, is of a kind that cannot be scaled, or may not be read; its spec breaks a rule or a limit; another ScaledObject or HPA has the target; an annotation makes no sense; or the APIService of external metrics is gone or leads elsewhere.",
				Cure:  "The message has everything that is wrong at once, by field, and the command where a right is missing. For the APIService see SluiceNotAsked." + byItself,
			},
			{
				Name: "ScaledJobCheckFailed", Seen: []string{"Ready False", warningEvent},
				Cause: "The spec makes no sense, breaks a limit, or the Jobs of the object cannot be listed. No Job is started or deleted.",
				Cure:  "The message has everything that is wrong at once, by field." + byItself,
			},
			{
				Name: "ErrorGettingCurrentReplicas", Seen: []string{"Ready False"},
				Cause: "The scale of the target cannot be read, so nothing is decided.",
				Cure:  "The message has the API server's words. A target of another kind than Deployment, StatefulSet and ReplicaSet needs a ClusterRole, see the page of ScaledObject.",
			},
			{
				Name: "ScaleTargetNotScaled", Seen: []string{"Ready False"},
				Cause: "The replicas were decided and could not be written: the right to update the scale is missing, a webhook or a quota refuses, or the API server does not answer.",
				Cure:  "The message has the API server's words. It is tried again until it succeeds.",
			},
			{
				Name: "LeasesUnreadable", Seen: []string{"Ready False"},
				Cause: "The controller may not see whether a KEDA runs in the cluster, so it scales nothing: two that scale one target would fight.",
				Cure:  "Give the controller the rights that the message names. They are part of the manifests: apply those of this version again.",
			},
		},
	},
	{
		Title: "Active",
		Text:  "Whether there is work. It is never True or False by guess.",
		Reasons: []Reason{
			{
				Name: "ScalerActive", Seen: []string{"Active True"},
				Cause: "At least one trigger is above its activation threshold, or annotation `autoscaling.keda.sh/force-activation` says so. The target has a replica at least.",
			},
			{
				Name: "ScalerNotActive", Seen: []string{"Active False"},
				Cause: "All triggers were read, and none has work. The target is at `minReplicaCount` or `idleReplicaCount`, or held where it is: the message says by what.",
				Cure:  "If there is work that it should see, compare the trigger's activation threshold and its parameters with the source: queue, group, namespace, query.",
			},
			{
				Name: "ScalerCooldown", Seen: []string{"Active False"},
				Cause: "No trigger has work, and `cooldownPeriod` since the last work, or `initialCooldownPeriod` since the object was made, is not over.",
				Cure:  "It goes to rest by itself when the time is over. A shorter `cooldownPeriod` takes it there sooner.",
			},
			{
				Name: "UnknownState", Seen: []string{"Active Unknown"},
				Cause: "No trigger is known to have work, and one that fails may have some; or the object itself is refused. Replicas stay as they are.",
				Cure:  "See condition Ready.",
			},
		},
	},
	{
		Title: "Fallback",
		Text:  "Whether `fallback` stands in for triggers that fail.",
		Reasons: []Reason{
			{
				Name: "NoFallbackFound", Seen: []string{"Fallback False"},
				Cause: "No fallback is in force: there is none, or no trigger has failed more than `failureThreshold` times in a row.",
			},
			{
				Name: "FallbackExists", Seen: []string{"Fallback True"},
				Cause: "A trigger has failed more than `failureThreshold` times in a row, once per `pollingInterval`. `fallback.replicas` counts in its place.",
				Cure:  "The message has the error of the trigger. The fallback ends with the first reading that succeeds.",
			},
			{
				Name: "ScaledObjectFallbackActivated", Seen: []string{normalEvent},
				Cause: "The fallback came into force.", Cure: "As for FallbackExists.",
			},
			{
				Name: "ScaledObjectFallbackDeactivated", Seen: []string{normalEvent},
				Cause: "The triggers are read again, or the fallback was taken out of the object.",
			},
		},
	},
	{
		Title: "Paused",
		Text:  "Whether an annotation holds the object.",
		Reasons: []Reason{
			{
				Name: "ScaledObjectPaused", Seen: []string{"Paused True", normalEvent},
				Cause: "One of `autoscaling.keda.sh/paused`, `paused-replicas`, `paused-scale-in` and `paused-scale-out` is set. The message says what is paused.",
				Cure:  "To go on, remove the annotation: `kubectl annotate scaledobject NAME autoscaling.keda.sh/paused-`.",
			},
			{
				Name: "ScaledObjectUnpaused", Seen: []string{"Paused False", normalEvent},
				Cause: "The annotation is gone; scaling goes on.",
			},
			{
				Name: "ScaledJobPaused", Seen: []string{"Paused True", normalEvent},
				Cause: "`autoscaling.keda.sh/paused` is set: no Job is started or deleted, those that run go on.",
				Cure:  "To go on, remove the annotation: `kubectl annotate scaledjob NAME autoscaling.keda.sh/paused-`.",
			},
			{
				Name: "ScaledJobUnpaused", Seen: []string{"Paused False", normalEvent},
				Cause: "The annotation is gone; Jobs are started again.",
			},
		},
	},
	{
		Title: "HPAActive",
		Text:  "What the HPA controller says of the HPA of the object (its condition ScalingActive). Where it cannot read a metric, the reason is the HPA controller's own word. The condition is absent while the object has no HPA.",
		Reasons: []Reason{
			{
				Name: "HPAActive", Seen: []string{"HPAActive True"},
				Cause: "The HPA reads its metrics and scales.",
			},
			{
				Name: "ScalingDisabled", Seen: []string{"HPAActive True"},
				Cause: "The target is at zero, where an HPA does nothing. Triggers wake it.",
			},
			{
				Name: "HPAMetricsUnavailable", Seen: []string{"HPAActive False"},
				Cause: "The HPA does not scale, and gives no reason.",
				Cure:  "`kubectl describe hpa keda-hpa-NAME` shows its conditions and events.",
			},
			{
				Name: "FailedGetExternalMetric", Seen: []string{"HPAActive False, the HPA controller's own"},
				Cause: "The HPA controller asked for the metric of a trigger and was told an error, or nobody answered. Replicas stay.",
				Cure:  "Condition Ready has the trigger's error. If Ready is True, see whether `kubectl get apiservice v1beta1.external.metrics.k8s.io` is Available and leads to Sluice's metrics adapter.",
			},
			{
				Name: "FailedGetResourceMetric", Seen: []string{"HPAActive False, the HPA controller's own"},
				Cause: "cpu or memory of the Pods cannot be read. They come from the metrics server, not from Sluice; Pods that have just started have none for a moment.",
				Cure:  "`kubectl top pod` has to work, and every container needs a request of that resource.",
			},
			{
				Name: "FailedGetContainerResourceMetric", Seen: []string{"HPAActive False, the HPA controller's own"},
				Cause: "As FailedGetResourceMetric, of the container that `containerName` names.",
				Cure:  "As FailedGetResourceMetric; the container has to have that name.",
			},
			{
				Name: "InvalidSelector", Seen: []string{"HPAActive False, the HPA controller's own"},
				Cause: "The target tells no selector of its Pods, or more than one HPA selects them.",
				Cure:  "A kind of your own has to have `labelSelectorPath` in its scale subresource. Of two HPAs over the same Pods delete one.",
			},
		},
	},
	{
		Title: "Events of triggers and targets",
		Text:  "Besides those that have the name of a condition's reason.",
		Reasons: []Reason{
			{
				Name: "KEDAScalersStarted", Seen: []string{normalEvent},
				Cause: "The triggers of the object are watched from now on; once for all of them.",
			},
			{
				Name: "KEDAScalersStopped", Seen: []string{normalEvent},
				Cause: "They are no longer watched: the object is paused, is being deleted, or has no HPA any more.",
			},
			{
				Name: "KEDAScalerFailed", Seen: []string{warningEvent},
				Cause: "A trigger cannot be read. Condition Ready has the same words, with a fallback condition Active or Fallback.",
				Cure:  "As for TriggerError.",
			},
			{
				Name: "KEDAMetricSourceFailed", Seen: []string{warningEvent},
				Cause: "The same, of an object with `scalingModifiers`: a trigger that the formula needs cannot be read, or the formula cannot be evaluated.",
				Cure:  "As for TriggerError. While one of the formula's triggers fails the replicas are held.",
			},
			{
				Name: "KEDAScalerInfo", Seen: []string{normalEvent},
				Cause: "A setting has no effect, is deprecated, or is not understood, such as a parameter that the trigger type does not know. The object works without it.",
				Cure:  "Correct or remove what the text names. With `--admission=strict` such objects are refused when they are applied.",
			},
			{
				Name: "KEDAScaleTargetActivated", Seen: []string{normalEvent},
				Cause: "The target left zero, or `idleReplicaCount`; the text has the triggers and both numbers.",
			},
			{
				Name: "KEDAScaleTargetDeactivated", Seen: []string{normalEvent},
				Cause: "No trigger has work and the cooldown is over: the target went to zero, or to `idleReplicaCount`.",
			},
			{
				Name: "KEDAScaleTargetActivationFailed", Seen: []string{warningEvent},
				Cause: "The target should have left zero and could not be written.",
				Cure:  "As for ScaleTargetNotScaled.",
			},
			{
				Name: "KEDAScaleTargetDeactivationFailed", Seen: []string{warningEvent},
				Cause: "The target should have gone to zero and could not be written.",
				Cure:  "As for ScaleTargetNotScaled.",
			},
			{
				Name: "ScaledObjectUpdateFailed", Seen: []string{warningEvent},
				Cause: "`scaleTargetRef` has an apiVersion or kind that is none, or the API server takes the status not.",
				Cure:  "The text has the field, or the API server's words. CRDs of an older version are a cause: apply those of this version.",
			},
			{
				Name: "ScaledObjectDeleted", Seen: []string{warningEvent},
				Cause: "The ScaledObject was deleted. Its target keeps its replicas, or goes back to the first number with `restoreToOriginalReplicaCount: true`.",
			},
		},
	},
	{
		Title: "Events of Jobs",
		Text:  "Of ScaledJobs.",
		Reasons: []Reason{
			{
				Name: "KEDAJobsCreated", Seen: []string{normalEvent},
				Cause: "Jobs were started; the text has the arithmetic and what limited it.",
			},
			{
				Name: "KEDAJobCreateFailed", Seen: []string{"Ready False", warningEvent},
				Cause: "The API server refuses a Job: its template is invalid, a quota is used up, a webhook says no, or the namespace is being deleted.",
				Cure:  "The message has the API server's words. It is tried again after 1 s, doubling to 30 s, and at once after an edit.",
			},
			{
				Name: "ScaledJobActive", Seen: []string{normalEvent}, Cause: "At least one trigger has work.",
			},
			{
				Name: "ScaledJobInactive", Seen: []string{normalEvent}, Cause: "No trigger has work any more.",
			},
			{
				Name: "ScaledJobDeleted", Seen: []string{warningEvent},
				Cause: "The ScaledJob was deleted. Its Jobs go with it, those that run too.",
			},
			{
				Name: "ScaledJobRolloutCleanupStarted", Seen: []string{normalEvent},
				Cause: "The spec changed, and `rollout: {strategy: immediate}` has the Jobs of the old one deleted.",
			},
			{
				Name: "ScaledJobRolloutCleanupCompleted", Seen: []string{normalEvent},
				Cause: "They are deleted; new ones are started for what waits.",
			},
			{
				Name: "ScaledJobRolloutCleanupFailed", Seen: []string{warningEvent},
				Cause: "Jobs of the old spec could not be deleted.",
				Cure:  "The text has the API server's words. It is tried again.",
			},
		},
	},
	{
		Title: "Authentications",
		Text:  "Events of TriggerAuthentications and ClusterTriggerAuthentications.",
		Reasons: []Reason{
			{Name: "TriggerAuthenticationAdded", Seen: []string{normalEvent}, Cause: "It was created."},
			{Name: "TriggerAuthenticationUpdated", Seen: []string{normalEvent}, Cause: "Its spec was changed. The triggers that use it log in anew within a minute."},
			{Name: "TriggerAuthenticationDeleted", Seen: []string{normalEvent}, Cause: "It was deleted. Triggers that still name it fail, and their objects keep their replicas."},
			{
				Name: "TriggerAuthenticationFailed", Seen: []string{warningEvent}, Cause: "A defect of Sluice: the list of users in its status is not up to date. Scaling is not concerned.",
				Cure: "The controller's log has the place. Please report it.",
			},
			{Name: "ClusterTriggerAuthenticationAdded", Seen: []string{normalEvent}, Cause: "It was created."},
			{Name: "ClusterTriggerAuthenticationUpdated", Seen: []string{normalEvent}, Cause: "Its spec was changed. The triggers that use it log in anew within a minute."},
			{Name: "ClusterTriggerAuthenticationDeleted", Seen: []string{normalEvent}, Cause: "It was deleted. Triggers that still name it fail, and their objects keep their replicas."},
			{
				Name: "ClusterTriggerAuthenticationFailed", Seen: []string{warningEvent}, Cause: "A defect of Sluice: the list of users in its status is not up to date. Scaling is not concerned.",
				Cure: "The controller's log has the place. Please report it.",
			},
		},
	},
	{
		Title: "The installation",
		Text:  "Events of the APIService `v1beta1.external.metrics.k8s.io` and the ValidatingWebhookConfiguration `keda-admission`.",
		Reasons: []Reason{
			{
				Name: "SluiceNotAsked", Seen: []string{warningEvent},
				Cause: "The object is gone, or leads to somebody else: KEDA's manifests, or another adapter of external metrics, were applied or deleted. HPAs are told nothing and keep what they have; from zero and back goes on.",
				Cure:  "Apply the manifests of Sluice again, or have `--restore-registration` do it.",
			},
			{Name: "SluiceAsked", Seen: []string{normalEvent}, Cause: "It leads to Sluice again."},
		},
	},
	{
		Title: "CloudEvents",
		Text:  "Condition Active of CloudEventSources and ClusterCloudEventSources.",
		Reasons: []Reason{
			{Name: "CloudEventSourceActive", Seen: []string{"Active True"}, Cause: "Events are sent to the sink."},
			{
				Name: "CloudEventSourceFailed", Seen: []string{"Active False"},
				Cause: "The sink took no event in six tries, its address is refused, it is an Event Grid topic, or the namespace has more sources than it may.",
				Cure:  "The message has the status that the sink answered. A source that was given up goes on once its spec changes.",
			},
		},
	},
}
