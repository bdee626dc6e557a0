package federation

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// Variables that triggers tell, which become more by references to others, are
// counted by namespace, as long as somebody has them. Beyond that a trigger tells
// nothing and says so; others tell theirs.
func TestVariablesThatFamiliesAreToldAreBounded(t *testing.T) {
	job := func(namespace string, i, references int) *v1alpha1.ScaledJob {
		container := corev1.Container{Name: "c", Env: []corev1.EnvVar{{Name: "V", Value: strings.Repeat("$(A)", references)}, {Name: "A", Value: "x"}},
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}}}
		sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("j", i)}}
		sj.Spec.JobTargetRef = &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{container}}}}
		for range 3 {
			sj.Spec.Triggers = append(sj.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "kafka", Metadata: map[string]string{"topicFromEnv": "V"}})
		}
		sj.Spec.Triggers = append(sj.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "kafka", AuthenticationRef: &v1alpha1.AuthenticationRef{Name: "a"}})
		return sj
	}
	const most = 4 << 20
	b := kept.New(kept.Unbounded, most)
	var held [][]Trigger
	refused, size := 0, 0
	for i := range 200 {
		triggers := TriggersOfJob(job("flood", i, 4000))
		for j := range triggers {
			tells := triggers[j].Env != nil || triggers[j].Containers != nil
			if !tells {
				t.Fatalf("trigger %d of object %d tells nothing", j, i)
			}
			if !triggers[j].Hold(b) {
				refused++
				if triggers[j].Env != nil || triggers[j].Containers != nil || status.Code(triggers[j].Unread) != codes.ResourceExhausted {
					t.Fatalf("it tells %v, and says %v", triggers[j].Env, triggers[j].Unread)
				}
			}
			size += kept.Size(triggers[j].Env) + kept.Size(triggers[j].Containers)
		}
		held = append(held, triggers)
	}
	if refused == 0 || size > most || size < most/8 {
		t.Errorf("%d triggers are refused, and %d bytes kept", refused, size)
	}
	mine := TriggersOfJob(job("shop", 0, 100))
	for range 3 { // as often as they are looked at
		for j := range mine {
			if !mine[j].Hold(b) {
				t.Errorf("trigger %d of another namespace: %v", j, mine[j].Unread)
			}
		}
	}
	runtime.KeepAlive(held)
	clear(held)
	for range 1000 {
		if runtime.GC(); b.Used("flood") == 0 {
			break
		}
		runtime.Gosched()
	}
	if got := b.Used("flood"); got != 0 {
		t.Errorf("%d bytes count of triggers that are gone", got)
	}
	if b.Used("shop") == 0 {
		t.Error("nothing counts of triggers that are there")
	}
	runtime.KeepAlive(mine)
}
