package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
)

const (
	// servicePrefix and a trigger type make the name of a Service.
	servicePrefix = "scaler-"
	// mostInNamespace are looked at of Services and of Pods.
	mostInNamespace = 500
)

// Look returns what the API server has of the families in a namespace: Services, and
// their Pods. What may not be read is missing.
func Look(ctx context.Context, config *rest.Config, namespace string) (all []federation.Surveyed, missing []string, err error) {
	config = rest.CopyConfig(config)
	answers.Bound(config)
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	services, err := clientset.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{Limit: mostInNamespace})
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil, fmt.Errorf("you may not list Services in namespace %s, which say what is installed: %w", namespace, err)
	case err != nil:
		return nil, nil, err
	}
	pods, err := clientset.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: mostInNamespace})
	if err != nil {
		missing = append(missing, fmt.Sprintf("the instances of families: %v", err))
		pods = nil
	}
	for _, service := range services.Items {
		triggerType, is := strings.CutPrefix(service.Name, servicePrefix)
		if !is || federation.CheckType(triggerType) != nil {
			continue
		}
		told := federation.Surveyed{Type: triggerType}
		if pods != nil && len(service.Spec.Selector) > 0 {
			selector := labels.SelectorFromSet(service.Spec.Selector)
			for i := range pods.Items {
				if pod := &pods.Items[i]; selector.Matches(labels.Set(pod.Labels)) {
					told.Instances = append(told.Instances, instance(pod))
				}
			}
		}
		all = append(all, told)
	}
	slices.SortFunc(all, func(a, b federation.Surveyed) int { return strings.Compare(a.Type, b.Type) })
	return all, missing, ctx.Err()
}

// instance is what a Pod says of one. Nobody asked it.
func instance(pod *corev1.Pod) federation.SurveyedInstance {
	i := federation.SurveyedInstance{Address: "Pod " + pod.Name, State: federation.InstanceStarting}
	switch {
	case pod.DeletionTimestamp != nil:
		i.State = federation.InstanceLeaving
	case forward.Ready(pod):
		i.State = federation.InstanceReady
	case pod.Status.Phase != corev1.PodPending:
		i.State, i.Reason = federation.InstanceDown, "the Pod is not ready: kubectl describe pod "+pod.Name
	}
	if len(pod.Spec.Containers) > 0 {
		i.Version = tagOf(pod.Spec.Containers[0].Image)
	}
	return i
}

// tagOf is the tag of an image's name, "" without one.
func tagOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, _ := strings.Cut(name, ":")
	return tag
}
