// Package cloudevents sends the lifecycle events of scaled objects as
// CloudEvents to the sinks that users name.
package cloudevents

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
)

// event is one lifecycle event before it is put into a sink's words.
type event struct {
	kind            eventing.EventType
	object          string // the kind, lower case
	namespace, name string
	reason, note    string
}

// typesByReason are the CloudEvents that Kubernetes events of a reason become.
var typesByReason = map[string]eventing.EventType{
	"ScaledObjectReady":        "keda.scaledobject.ready.v1",
	"ScaledObjectCheckFailed":  "keda.scaledobject.failed.v1",
	"ScaledObjectUpdateFailed": "keda.scaledobject.failed.v1",
	"ScaledObjectDeleted":      "keda.scaledobject.removed.v1",
	"ScaledObjectPaused":       "keda.scaledobject.paused.v1",
	"ScaledObjectUnpaused":     "keda.scaledobject.unpaused.v1",

	"ScaledJobReady":                   "keda.scaledjob.ready.v1",
	"ScaledJobCheckFailed":             "keda.scaledjob.failed.v1",
	"ScaledJobUpdateFailed":            "keda.scaledjob.failed.v1",
	"ScaledJobDeleted":                 "keda.scaledjob.removed.v1",
	"ScaledJobPaused":                  "keda.scaledjob.paused.v1",
	"ScaledJobUnpaused":                "keda.scaledjob.unpaused.v1",
	"ScaledJobRolloutCleanupStarted":   "keda.scaledjob.rolloutcleanup.started.v1",
	"ScaledJobRolloutCleanupCompleted": "keda.scaledjob.rolloutcleanup.completed.v1",
	"ScaledJobRolloutCleanupFailed":    "keda.scaledjob.rolloutcleanup.failed.v1",

	"TriggerAuthenticationAdded":          "keda.authentication.triggerauthentication.created.v1",
	"TriggerAuthenticationUpdated":        "keda.authentication.triggerauthentication.updated.v1",
	"TriggerAuthenticationDeleted":        "keda.authentication.triggerauthentication.removed.v1",
	"ClusterTriggerAuthenticationAdded":   "keda.authentication.clustertriggerauthentication.created.v1",
	"ClusterTriggerAuthenticationUpdated": "keda.authentication.clustertriggerauthentication.updated.v1",
	"ClusterTriggerAuthenticationDeleted": "keda.authentication.clustertriggerauthentication.removed.v1",
}

// Recorder records Kubernetes events as before, and sends those of an object's
// life to the sinks.
type Recorder struct {
	events.EventRecorder
	Sinks *Sinks
}

// Eventf implements events.EventRecorder.
func (r Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, note, args...)
	if e, ok := eventOf(regarding, reason, fmt.Sprintf(note, args...)); ok {
		r.Sinks.send(e)
	}
}

func eventOf(regarding runtime.Object, reason, note string) (event, bool) {
	kind, known := typesByReason[reason]
	object, err := meta.Accessor(regarding)
	if !known || err != nil {
		return event{}, false
	}
	// The second word of the type is the object's kind, the third for
	// authentications.
	words := strings.Split(string(kind), ".")
	of := words[1]
	if of == "authentication" {
		of = words[2]
	}
	return event{kind: kind, object: of, namespace: object.GetNamespace(), name: object.GetName(), reason: reason, note: note}, true
}

// passes reports whether a subscription lets an event type through.
func passes(s eventing.EventSubscription, kind eventing.EventType) bool {
	if len(s.IncludedEventTypes) > 0 {
		return slices.Contains(s.IncludedEventTypes, kind)
	}
	return !slices.Contains(s.ExcludedEventTypes, kind)
}
