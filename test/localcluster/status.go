package localcluster

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reportStatus tells the API what the Pod is doing. It tries again until the
// report arrives, so that a busy API server cannot make a Pod look ready that
// is not. Reports go one after the other: an older one must not arrive last.
func (i *Instance) reportStatus(ctx context.Context) {
	i.reporting.Lock()
	defer i.reporting.Unlock()
	for ctx.Err() == nil {
		body, err := json.Marshal(map[string]any{"status": i.status()})
		if err != nil {
			panic(err) // plain data
		}
		_, err = i.kubelet.client.CoreV1().Pods(i.Namespace()).
			Patch(ctx, i.Name(), types.MergePatchType, body, metav1.PatchOptions{}, "status")
		if err == nil || isGone(err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// isGone tells that the object, or the one of that name, is another by now.
func isGone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

func (i *Instance) status() corev1.PodStatus {
	i.mu.Lock()
	defer i.mu.Unlock()
	running := i.process != nil && i.process.PID() != 0
	now := metav1.Now()
	container := corev1.ContainerStatus{
		Name: i.pod.Spec.Containers[0].Name, Image: i.pod.Spec.Containers[0].Image,
		Ready: i.ready, Started: &running, RestartCount: int32(i.restarts),
	}
	if running {
		container.State.Running = &corev1.ContainerStateRunning{StartedAt: now}
	} else {
		container.State.Waiting = &corev1.ContainerStateWaiting{Reason: "NotRunning", Message: i.problem}
	}
	status := corev1.PodStatus{
		Phase:     corev1.PodPending,
		StartTime: &now,
		Conditions: []corev1.PodCondition{
			podCondition(corev1.PodScheduled, true),
			podCondition(corev1.PodInitialized, true),
			podCondition(corev1.ContainersReady, i.ready),
			podCondition(corev1.PodReady, i.ready),
		},
		ContainerStatuses: []corev1.ContainerStatus{container},
	}
	if i.process != nil {
		status.Phase = corev1.PodRunning
	}
	if i.box != nil && i.kubelet.cluster.Isolated() {
		status.PodIP = i.box.address().String()
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
		status.HostIP = i.kubelet.cluster.Address()
		status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	}
	return status
}

// podReady tells what the API says of the Pod.
func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func podCondition(kind corev1.PodConditionType, yes bool) corev1.PodCondition {
	status := corev1.ConditionFalse
	if yes {
		status = corev1.ConditionTrue
	}
	return corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: metav1.Now()}
}
