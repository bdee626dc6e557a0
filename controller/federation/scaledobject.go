package federation

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Workload is what a trigger may know of the workload that its object scales.
type Workload struct {
	// Mode is what the workload is doing.
	Mode Mode
	// ServiceAccount is the workload's, "" where it has no Pod template.
	ServiceAccount string
	// Template is the workload's Pod template, nil where it has none.
	Template *corev1.PodTemplateSpec
	// Unread is why the template is not known, nil when it is.
	Unread error
}

// TriggersOf returns the triggers of an object that families serve; cpu and
// memory are not among them. Annotations of the object that cannot be
// understood count as absent: the reconciler reports them.
func TriggersOf(so *v1alpha1.ScaledObject, workload Workload) []Trigger {
	idle, _ := so.IdlePollingInterval()
	noData, _ := so.NoData()
	return triggersOf(Trigger{
		ID:                  ID{Kind: scalerv1.KindScaledObject, Namespace: so.Namespace, Name: so.Name},
		Generation:          so.Generation,
		MetricSource:        so.Modifiers() != nil,
		NoData:              noData,
		PollingInterval:     so.PollingInterval(),
		IdlePollingInterval: idle,
		Mode:                workload.Mode,
		Doorbell:            doorbellOf(so.Doorbell()),
		ServiceAccount:      workload.ServiceAccount,
		Unread:              workload.Unread,
	}, so.Spec.Triggers, workload.Template, so.Spec.ScaleTargetRef.EnvSourceContainerName)
}

// TriggersOfJob is TriggersOf for a ScaledJob, whose workload is its template.
// It always waits for work: no HPA asks more often while Jobs run, and a source
// may ring all the time.
func TriggersOfJob(sj *v1alpha1.ScaledJob) []Trigger {
	idle, _ := sj.IdlePollingInterval()
	noData, _ := sj.NoData()
	var template *corev1.PodTemplateSpec
	if sj.Spec.JobTargetRef != nil {
		template = &sj.Spec.JobTargetRef.Template
	}
	return triggersOf(Trigger{
		ID:                  ID{Kind: scalerv1.KindScaledJob, Namespace: sj.Namespace, Name: sj.Name},
		Generation:          sj.Generation,
		NoData:              noData,
		PollingInterval:     sj.PollingInterval(),
		IdlePollingInterval: idle,
		Mode:                Idle,
		Doorbell:            doorbellOf(sj.Doorbell()),
		ServiceAccount:      ServiceAccountOf(template),
	}, sj.Spec.Triggers, template, sj.Spec.EnvSourceContainerName)
}

// triggersOf makes of what all triggers of an object have in common those that
// families serve. Variables are those of the named container. A trigger whose
// variables are too many is served as one whose workload was not read.
func triggersOf(common Trigger, triggers []v1alpha1.ScaleTrigger, template *corev1.PodTemplateSpec, name string) []Trigger {
	environments := environmentsOf(template, name)
	var served []Trigger
	for i, t := range triggers {
		if t.Builtin() {
			continue
		}
		trigger := common
		trigger.Index, trigger.Type, trigger.TriggerName = i, t.Type, t.Name
		trigger.Metadata = t.Metadata
		trigger.MetricType, trigger.UseCachedMetrics = string(t.MetricType), t.UseCachedMetrics
		if !scalerv1.NameVariable(t.Metadata) {
			trigger.Unread = nil
		}
		var tooMuch error
		if trigger.Env, tooMuch = environments.named(t.Metadata); tooMuch != nil {
			trigger.Unread = tooMuch
		}
		trigger.authenticate(t, environments)
		served = append(served, trigger)
	}
	return served
}

// authenticate adds where the credentials of t are. Only the family knows which
// variables an authentication object names, so it is told of all.
func (t *Trigger) authenticate(from v1alpha1.ScaleTrigger, environments *environments) {
	if ref := from.AuthenticationRef; ref != nil {
		t.Authentication = ref.AuthenticationKind() + "/" + ref.Name
		t.Containers = environments.containers()
	}
	for _, ref := range from.SecretKeyRef {
		if t.Inline == nil {
			t.Inline = map[string]scalerv1.KeyRef{}
		}
		t.Inline[ref.Parameter] = scalerv1.KeyRef{Name: ref.Name, Key: ref.Key}
	}
}

func doorbellOf(on *bool, err error) Doorbell {
	switch {
	case err != nil || on == nil:
		return DoorbellAuto
	case *on:
		return DoorbellOn
	}
	return DoorbellOff
}

// container is the one whose environment the object's triggers may name: the
// wanted one, else the first.
func container(wanted string, template *corev1.PodTemplateSpec) *corev1.Container {
	if template == nil {
		return nil
	}
	for i := range template.Spec.Containers {
		if wanted == "" || template.Spec.Containers[i].Name == wanted {
			return &template.Spec.Containers[i]
		}
	}
	return nil
}
