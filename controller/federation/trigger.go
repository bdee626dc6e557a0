package federation

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// ID names one trigger of one object.
type ID struct {
	// Kind is scalerv1.KindScaledObject or scalerv1.KindScaledJob.
	Kind string
	// Namespace and Name are the object's.
	Namespace, Name string
	// Index is the position in spec.triggers, from 0.
	Index int
}

// String returns "<kind>/<namespace>/<name>/<index>", the id on the wire. A
// Trigger prints as its ID, too, so that no log shows its metadata.
func (id ID) String() string {
	return fmt.Sprintf("%s/%s/%s/%d", id.Kind, id.Namespace, id.Name, id.Index)
}

// Mode says what a trigger's target is doing.
type Mode string

// The modes, as in the reserved key sluice.dev/mode.
const (
	// Idle: at zero or idle replicas, waiting for work.
	Idle Mode = scalerv1.ModeIdle
	// Active: above; the HPA asks every 15 s.
	Active Mode = scalerv1.ModeActive
)

// Doorbell says whether a source may be asked to ring, as in the annotation
// sluice.dev/doorbell.
type Doorbell string

// The wishes of a user.
const (
	// DoorbellAuto leaves it to the family.
	DoorbellAuto Doorbell = ""
	// DoorbellOn rings even where the family would not by itself.
	DoorbellOn Doorbell = "on"
	// DoorbellOff only polls.
	DoorbellOff Doorbell = "off"
)

// Trigger is one trigger of one object, in plain values. It holds no secret:
// Authentication, Env, Containers and Inline are references, resolved by the family.
//
// A Trigger is not changed after it was given away.
type Trigger struct {
	ID
	// Generation is metadata.generation of the object. What was observed for
	// another generation is dropped.
	Generation int64
	// Type is the text of spec.triggers[].type.
	Type string
	// TriggerName is spec.triggers[].name, possibly empty.
	TriggerName string
	// Metadata is spec.triggers[].metadata. Keys with prefix sluice.dev/ are
	// dropped.
	Metadata map[string]string
	// Authentication is "TriggerAuthentication/<name>",
	// "ClusterTriggerAuthentication/<name>" or empty.
	Authentication string
	// MetricType is "AverageValue" or "Value", as the user gave it; empty is the
	// default.
	MetricType string
	// MetricSource is true when the trigger only feeds a formula.
	MetricSource bool
	// UseCachedMetrics keeps reads at PollingInterval while active, too.
	UseCachedMetrics bool
	// NoData is what the user wants a reading without data to become: hold,
	// error or zero, as in the annotation sluice.dev/no-data. "" leaves it to
	// the installation (Config.NoData), and that to the trigger.
	NoData string
	// PollingInterval is the object's. 0 is 30 s, KEDA's default.
	PollingInterval time.Duration
	// IdlePollingInterval is the longest time between two reads while idle,
	// as in the annotation sluice.dev/idle-polling-interval. 0 is
	// PollingInterval.
	IdlePollingInterval time.Duration
	// Mode is what the target is doing; empty is Idle.
	Mode Mode
	// Doorbell is the user's wish.
	Doorbell Doorbell
	// ServiceAccount is the workload's, for identities that are taken from it.
	ServiceAccount string
	// Unread is why the workload was not read, and with it its variables, or
	// why they are too many. Nobody is then asked by more than the trigger's
	// identity, and nobody subscribed to: a request without the variables would
	// be another question. GetMetrics returns it when no family has the trigger.
	Unread error
	// Env has the variables that the metadata names with "<key>FromEnv" and
	// what their literals expand: literals, or references to a key of a Secret
	// or ConfigMap.
	Env map[string]scalerv1.EnvVar
	// Containers are the environments of all containers of the workload, for
	// variables that the authentication object names. Triggers of one object
	// share them.
	Containers []scalerv1.Container
	// Inline are keys of Secrets in the object's namespace that the trigger
	// itself names, by parameter.
	Inline map[string]scalerv1.KeyRef

	told *told
}

// polling is PollingInterval with its default applied.
func (t Trigger) polling() time.Duration {
	if t.PollingInterval <= 0 {
		return scalerv1.DefaultPollingInterval
	}
	return t.PollingInterval
}

// interval is the longest time between two reads in the trigger's mode.
func (t Trigger) interval() time.Duration {
	interval := t.polling()
	switch {
	case t.Mode == Active && !t.UseCachedMetrics:
		interval = min(interval, scalerv1.SyncPeriod)
	case t.Mode != Active && t.IdlePollingInterval > 0:
		interval = t.IdlePollingInterval
	}
	return max(interval, scalerv1.ShortestInterval)
}

// same reports whether both ask for the same in every respect but generation,
// mode, intervals and doorbell, so that what was observed for one holds for
// the other.
func (t Trigger) same(o Trigger) bool {
	return t.sameSpec(o) && t.MetricSource == o.MetricSource && t.NoData == o.NoData &&
		t.ServiceAccount == o.ServiceAccount && sameError(t.Unread, o.Unread) &&
		reflect.DeepEqual(t.Env, o.Env) && reflect.DeepEqual(t.Containers, o.Containers)
}

// sameSpec reports whether both have the same entry in spec.triggers: what may
// differ then lies around it, such as the workload's environment.
func (t Trigger) sameSpec(o Trigger) bool {
	return t.ID == o.ID && t.Type == o.Type && t.TriggerName == o.TriggerName &&
		t.Authentication == o.Authentication && t.MetricType == o.MetricType &&
		maps.Equal(t.Metadata, o.Metadata) && maps.Equal(t.Inline, o.Inline)
}

// pace is what may change without a new generation.
type pace struct {
	interval, polling time.Duration
	mode              Mode
	doorbell          Doorbell
}

func (t Trigger) pace() pace {
	return pace{interval: t.interval(), polling: t.polling(), mode: t.Mode, doorbell: t.Doorbell}
}
