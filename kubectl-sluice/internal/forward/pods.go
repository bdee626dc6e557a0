package forward

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Ready reports whether a Pod says that it can be asked.
func Ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// PortOf is the port of a Pod that has a name, 0 where none has it.
func PortOf(pod *corev1.Pod, name string) int32 {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name {
				return port.ContainerPort
			}
		}
	}
	return 0
}
