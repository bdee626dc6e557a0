package forward

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodsThatCanBeAsked(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Ports: []corev1.ContainerPort{{Name: "health", ContainerPort: 8081}}},
		{Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9090}}},
	}}}
	if port := PortOf(pod, "metrics"); port != 9090 {
		t.Error(port)
	}
	if port := PortOf(pod, "loopback"); port != 0 {
		t.Error(port)
	}
	for status, want := range map[corev1.ConditionStatus]bool{corev1.ConditionTrue: true, corev1.ConditionFalse: false, corev1.ConditionUnknown: false} {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: status}}
		if Ready(pod) != want {
			t.Errorf("%s: ready %v", status, !want)
		}
	}
}
