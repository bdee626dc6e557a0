package federation

import (
	"regexp"
	"strings"

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
	}, so.Spec.Triggers, container(so.Spec.ScaleTargetRef.EnvSourceContainerName, workload.Template))
}

// TriggersOfJob is TriggersOf for a ScaledJob, whose workload is its template.
// It always waits for work: no HPA asks more often while Jobs run, and a source
// may ring all the time.
func TriggersOfJob(sj *v1alpha1.ScaledJob) []Trigger {
	idle, _ := sj.IdlePollingInterval()
	var template *corev1.PodTemplateSpec
	if sj.Spec.JobTargetRef != nil {
		template = &sj.Spec.JobTargetRef.Template
	}
	return triggersOf(Trigger{
		ID:                  ID{Kind: scalerv1.KindScaledJob, Namespace: sj.Namespace, Name: sj.Name},
		Generation:          sj.Generation,
		PollingInterval:     sj.PollingInterval(),
		IdlePollingInterval: idle,
		Mode:                Idle,
		Doorbell:            doorbellOf(sj.Doorbell()),
		ServiceAccount:      ServiceAccountOf(template),
	}, sj.Spec.Triggers, container(sj.Spec.EnvSourceContainerName, template))
}

// triggersOf makes of what all triggers of an object have in common those that
// families serve.
func triggersOf(common Trigger, triggers []v1alpha1.ScaleTrigger, c *corev1.Container) []Trigger {
	var served []Trigger
	for i, t := range triggers {
		if t.Builtin() {
			continue
		}
		trigger := common
		trigger.Index, trigger.Type, trigger.TriggerName = i, t.Type, t.Name
		trigger.Metadata, trigger.Env = t.Metadata, envOf(t.Metadata, c)
		trigger.MetricType, trigger.UseCachedMetrics = string(t.TargetType()), t.UseCachedMetrics
		if ref := t.AuthenticationRef; ref != nil {
			trigger.Authentication = ref.AuthenticationKind() + "/" + ref.Name
		}
		served = append(served, trigger)
	}
	return served
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

// reference is how one variable refers to another inside a literal.
var reference = regexp.MustCompile(`\$\(([^)]+)\)`)

// envOf has the variables that metadata names with "<key>FromEnv", and those
// that their literals refer to. Values of Secrets and ConfigMaps stay where
// they are: only their places are passed on.
func envOf(metadata map[string]string, c *corev1.Container) map[string]scalerv1.EnvVar {
	if c == nil {
		return nil
	}
	defined := map[string]corev1.EnvVar{}
	for _, v := range c.Env {
		defined[v.Name] = v
	}
	var wanted []string
	for key, value := range metadata {
		if strings.HasSuffix(key, scalerv1.FromEnvSuffix) {
			wanted = append(wanted, strings.TrimSpace(value))
		}
	}
	env := map[string]scalerv1.EnvVar{}
	for len(wanted) > 0 {
		name := wanted[0]
		wanted = wanted[1:]
		v, ok := defined[name]
		if _, done := env[name]; done || !ok {
			continue
		}
		place, ok := placeOf(v)
		if !ok {
			continue
		}
		env[name] = place
		for _, match := range reference.FindAllStringSubmatch(v.Value, -1) {
			wanted = append(wanted, match[1])
		}
	}
	return env
}

// placeOf says where a variable's value is. Fields of the Pod are known only
// to the kubelet; such variables are left out, as in KEDA.
func placeOf(v corev1.EnvVar) (scalerv1.EnvVar, bool) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return scalerv1.EnvVar{Value: &v.Value}, true
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		return scalerv1.EnvVar{SecretKeyRef: &scalerv1.KeyRef{Name: ref.Name, Key: ref.Key, Optional: isTrue(ref.Optional)}}, true
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		return scalerv1.EnvVar{ConfigMapKeyRef: &scalerv1.KeyRef{Name: ref.Name, Key: ref.Key, Optional: isTrue(ref.Optional)}}, true
	}
	return scalerv1.EnvVar{}, false
}

func isTrue(b *bool) bool { return b != nil && *b }
