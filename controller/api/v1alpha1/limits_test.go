package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Whatever an object has too much of is told with the flag that raises it, and
// none of it is kept.
func TestLimitsOfAScaledObject(t *testing.T) {
	trigger := ScaleTrigger{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = ""
		}
		return m
	}
	policies := func(n int) *AdvancedConfig {
		a := &AdvancedConfig{HorizontalPodAutoscalerConfig: &HorizontalPodAutoscalerConfig{}, RestoreToOriginalReplicaCount: true}
		a.HorizontalPodAutoscalerConfig.Name = strings.Repeat("x", n)
		return a
	}
	tests := map[string]struct {
		spec ScaledObjectSpec
		want string
	}{
		"as many triggers as may be": {ScaledObjectSpec{Triggers: slicesOf(trigger, 100)}, ""},
		"one trigger more":           {ScaledObjectSpec{Triggers: slicesOf(trigger, 101)}, "triggers: 101 triggers, more than the 100 that --max-triggers lets it have"},
		"as many parameters":         {ScaledObjectSpec{Triggers: []ScaleTrigger{{Type: "kafka", Metadata: many(100)}}}, ""},
		"one parameter more": {ScaledObjectSpec{Triggers: []ScaleTrigger{trigger, {Type: "kafka", Metadata: many(101)}}},
			"trigger 1 (kafka): 101 parameters, more than the 100 that --max-parameters lets it have"},
		"a long parameter": {ScaledObjectSpec{Triggers: []ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": strings.Repeat("x", 64<<10)}}}},
			"more than the 65536 that --max-trigger-bytes lets it have"},
		"a long type": {ScaledObjectSpec{Triggers: []ScaleTrigger{{Type: strings.Repeat("x", 64<<10)}}},
			"more than the 65536 that --max-trigger-bytes lets it have"},
		"a large rest": {ScaledObjectSpec{Triggers: []ScaleTrigger{trigger}, Advanced: policies(256 << 10)},
			"more than the 262144 that --max-object-bytes lets it have"},
		"a large target": {ScaledObjectSpec{Triggers: []ScaleTrigger{trigger}, ScaleTargetRef: ScaleTarget{Name: strings.Repeat("x", 256<<10)}},
			"more than the 262144 that --max-object-bytes lets it have"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := &ScaledObject{Spec: tt.spec}
			so.Spec.ScaleTargetRef.Name += "worker"
			so.Spec.MinReplicaCount = ptr(int32(2))
			if _, err := DefaultLimits.Transform(so); err != nil {
				t.Fatal(err)
			}
			err := so.Validate()
			if tt.want == "" {
				if err != nil || len(so.Spec.Triggers) == 0 {
					t.Errorf("cut down: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 500 {
				t.Errorf("%.500v, want %q", err, tt.want)
			}
			if so.Spec.Triggers != nil || so.MinReplicas() != 2 || len(so.Spec.ScaleTargetRef.Name) > 10 {
				t.Error("what harms is kept, or what does no harm is not")
			}
			if so.RestoresOriginalReplicas() != (tt.spec.Advanced != nil) {
				t.Error("its replicas are not restored as they should be")
			}
			DefaultLimits.CutScaledObject(so)
			if again := so.Validate(); again == nil || again.Error() != err.Error() {
				t.Errorf("cut down again it says %v", again)
			}
		})
	}
}

func slicesOf[T any](one T, n int) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = one
	}
	return all
}

func TestLimitsOfAScaledJob(t *testing.T) {
	job := func(change func(*ScaledJob)) *ScaledJob {
		sj := &ScaledJob{}
		sj.Spec.JobTargetRef = &batchv1.JobSpec{}
		sj.Spec.JobTargetRef.Template.Spec.Containers = []corev1.Container{{Name: "app"}}
		sj.Spec.Triggers = []ScaleTrigger{{Type: "kafka"}}
		change(sj)
		return sj
	}
	tests := map[string]struct {
		change func(*ScaledJob)
		want   string
	}{
		"usual":      {func(*ScaledJob) {}, ""},
		"many Jobs":  {func(sj *ScaledJob) { sj.Spec.MaxReplicaCount = ptr(int32(100_001)) }, "maxReplicaCount: 100001 Jobs, more than the 100000 that --max-jobs"},
		"much kept":  {func(sj *ScaledJob) { sj.Spec.SuccessfulJobsHistoryLimit = ptr(int32(100_001)) }, "successfulJobsHistoryLimit: 100001 Jobs"},
		"many fails": {func(sj *ScaledJob) { sj.Spec.FailedJobsHistoryLimit = ptr(int32(100_001)) }, "failedJobsHistoryLimit: 100001 Jobs"},
		"a large template": {func(sj *ScaledJob) {
			sj.Spec.JobTargetRef.Template.Annotations = map[string]string{"x": strings.Repeat("x", 256<<10)}
		}, "--max-object-bytes"},
		// Small as text, and large once it is decoded.
		"many empty containers": {func(sj *ScaledJob) {
			sj.Spec.JobTargetRef.Template.Spec.Containers = make([]corev1.Container, 5000)
		}, "values, more than the 5242 that --max-object-bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := job(tt.change)
			if _, err := DefaultLimits.Transform(sj); err != nil {
				t.Fatal(err)
			}
			err := sj.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || sj.Spec.JobTargetRef != nil {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestLimitsOfAnAuthentication(t *testing.T) {
	spec := func(n int) TriggerAuthenticationSpec {
		return TriggerAuthenticationSpec{
			SecretTargetRef: slicesOf(TargetRef{Parameter: "p", Name: "n", Key: "k"}, n/2),
			Env:             slicesOf(EnvParameter{Parameter: "p", Name: "n"}, n-n/2),
		}
	}
	if err := DefaultLimits.Authentication(spec(100)); err != nil {
		t.Error(err)
	}
	if err := DefaultLimits.Authentication(spec(101)); err == nil || !strings.Contains(err.Error(), "--max-references") {
		t.Errorf("%v", err)
	}
	auth, cluster := &TriggerAuthentication{Spec: spec(101)}, &ClusterTriggerAuthentication{Spec: spec(101)}
	for _, object := range []any{auth, cluster} {
		if _, err := DefaultLimits.Transform(object); err != nil {
			t.Fatal(err)
		}
	}
	if count(auth.Spec)+count(cluster.Spec) != 0 {
		t.Error("what exceeds is kept")
	}
}

func TestLimitsAreAboveZero(t *testing.T) {
	if err := DefaultLimits.Check(); err != nil {
		t.Error(err)
	}
	none := DefaultLimits
	none.Triggers = 0
	if err := none.Check(); err == nil || err.Error() != "--max-triggers: 0 is not greater than 0" {
		t.Errorf("%v", err)
	}
}
