package federation

import (
	"reflect"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func scaledObject(edit func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", Generation: 7},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}},
		},
	}
	edit(so)
	return so
}

func TestTriggersOf(t *testing.T) {
	id := ID{Kind: "ScaledObject", Namespace: "shop", Name: "orders"}
	plain := Trigger{
		ID: id, Generation: 7, Type: "kafka", Metadata: map[string]string{"topic": "orders"},
		PollingInterval: 30 * time.Second, IdlePollingInterval: 30 * time.Second, Mode: Active,
	}
	with := func(edit func(*Trigger)) []Trigger {
		trigger := plain
		edit(&trigger)
		return []Trigger{trigger}
	}
	annotated := func(key, value string) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{key: value} }
	}
	tests := map[string]struct {
		edit func(*v1alpha1.ScaledObject)
		want []Trigger
	}{
		"defaults are KEDA's": {func(*v1alpha1.ScaledObject) {}, []Trigger{plain}},
		"cpu and memory are not for families, and keep their places": {
			func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers = append([]v1alpha1.ScaleTrigger{{Type: "cpu"}, {Type: "memory"}}, so.Spec.Triggers...)
			},
			with(func(t *Trigger) { t.Index = 2 }),
		},
		"an authentication goes along by name": {
			func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers[0].AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
			},
			with(func(t *Trigger) { t.Authentication = "TriggerAuthentication/login" }),
		},
		"a doorbell that is switched off": {
			annotated(v1alpha1.AnnotationDoorbell, "off"), with(func(t *Trigger) { t.Doorbell = DoorbellOff }),
		},
		"a doorbell that is neither on nor off is left to the family": {
			annotated(v1alpha1.AnnotationDoorbell, "loud"), []Trigger{plain},
		},
		"a shorter interval at rest": {
			annotated(v1alpha1.AnnotationIdlePollingInterval, "2s"), with(func(t *Trigger) { t.IdlePollingInterval = 2 * time.Second }),
		},
		"an interval that is none is the polling interval": {
			annotated(v1alpha1.AnnotationIdlePollingInterval, "soon"), []Trigger{plain},
		},
		"a rule for no data": {
			annotated(v1alpha1.AnnotationNoData, "hold"), with(func(t *Trigger) { t.NoData = "hold" }),
		},
		"a rule that is none is left to the trigger": {
			annotated(v1alpha1.AnnotationNoData, "one"), []Trigger{plain},
		},
		"a formula makes triggers sources": {
			func(so *v1alpha1.ScaledObject) {
				so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "a"}}
			},
			with(func(t *Trigger) { t.MetricSource = true }),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := TriggersOf(scaledObject(tt.edit), Workload{Mode: Active})
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTriggersOfJobKnowItsTemplate(t *testing.T) {
	host := "amqp://broker"
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch", Generation: 3, Annotations: map[string]string{v1alpha1.AnnotationIdlePollingInterval: "2s"}},
		Spec: v1alpha1.ScaledJobSpec{
			EnvSourceContainerName: "worker",
			JobTargetRef: &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				ServiceAccountName: "batch",
				Containers:         []corev1.Container{{Name: "proxy"}, {Name: "worker", Env: []corev1.EnvVar{{Name: "HOST", Value: host}}}},
			}}},
			Triggers: []v1alpha1.ScaleTrigger{
				{Type: "memory"},
				{Type: "rabbitmq", Metadata: map[string]string{"hostFromEnv": "HOST"}, AuthenticationRef: &v1alpha1.AuthenticationRef{Name: "login"}},
			},
		},
	}
	want := []Trigger{{
		ID: ID{Kind: "ScaledJob", Namespace: "shop", Name: "batch", Index: 1}, Generation: 3, Type: "rabbitmq",
		Metadata: map[string]string{"hostFromEnv": "HOST"}, Authentication: "TriggerAuthentication/login",
		PollingInterval: 30 * time.Second, IdlePollingInterval: 2 * time.Second, Mode: Idle, ServiceAccount: "batch",
		Env:        map[string]scalerv1.EnvVar{"HOST": {Value: &host}},
		Containers: []scalerv1.Container{{Name: "proxy", Env: map[string]scalerv1.EnvVar{}}, {Name: "worker", Env: map[string]scalerv1.EnvVar{"HOST": {Value: &host}}}},
	}}
	if got := TriggersOfJob(sj); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	sj.Spec.JobTargetRef = nil // the reconciler says so
	if got := TriggersOfJob(sj); len(got) != 1 || got[0].ServiceAccount != "" || got[0].Env != nil {
		t.Errorf("%+v", got)
	}
}
