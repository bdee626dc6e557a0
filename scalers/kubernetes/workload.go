package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube"
)

// kubernetesWorkload scales on how many Pods of the namespace match a label
// selector and have not ended, or on how many nodes carry them.
var kubernetesWorkload = scaler.Define("kubernetes-workload", openWorkload,
	scaler.RingsAt("nothing: it is the watch on the namespace's Pods that counts them"))

// workloadParams is the metadata of a kubernetes-workload trigger.
type workloadParams struct {
	scaler.Object `question:"namespace"`

	// PodSelector is the label selector of the Pods to count, such as
	// "app=orders, tier in (web)". They are Pods of the object's own namespace.
	PodSelector string `param:"podSelector,required" long:"true"`
	// Value is the target: Pods, or nodes, per replica.
	Value float64 `param:"value" role:"target" unit:"Pods"`
	// ActivationValue is the activation threshold.
	ActivationValue float64 `param:"activationValue" default:"0" role:"activation" unit:"Pods"`
	// GroupByNode counts the nodes that the Pods run on instead of the Pods.
	GroupByNode bool `param:"groupByNode" default:"false"`
}

// These bound what a selector costs: every Pod of the namespace is held against
// each of its requirements, and each trigger keeps them, of some hundred bytes each.
const (
	longestSelector  = 4096 // bytes
	mostRequirements = 64
	mostValues       = 256 // of all lists
)

// parseSelector parses a selector that is not too large.
func parseSelector(text string) (labels.Selector, error) {
	if len(text) > longestSelector {
		return nil, fmt.Errorf("is longer than %d bytes", longestSelector)
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("is not a label selector: %w", err)
	}
	requirements, _ := selector.Requirements()
	values := 0
	for _, r := range requirements {
		values += len(r.ValuesUnsorted())
	}
	if len(requirements) > mostRequirements || values > mostValues {
		return nil, fmt.Errorf("has more than %d requirements, or %d values", mostRequirements, mostValues)
	}
	return selector, nil
}

// Validate checks the selector and, where it is needed, the target.
func (p workloadParams) Validate() error {
	var problems []error
	if _, err := parseSelector(p.PodSelector); err != nil {
		problems = append(problems, fmt.Errorf("podSelector: %w", err))
	}
	if p.Value < 0 || p.Value == 0 && !p.MetricSource {
		problems = append(problems, errors.New("value: must be a positive number"))
	}
	return errors.Join(problems...)
}

// Warnings names a selector that counts everything, which includes the scaled
// Pods themselves.
func (p workloadParams) Warnings() []string {
	if selector, err := parseSelector(p.PodSelector); err == nil && selector.Empty() {
		return []string{"podSelector: selects every Pod of the namespace, those that are scaled included"}
	}
	return nil
}

// Name does not tell selectors apart, as in KEDA.
func (p workloadParams) Name() string { return scaler.MetricName("workload", p.Namespace) }

// role is the ClusterRole that an installation grants to this family, in the
// namespaces of its choice.
const role = "sluice-scaler-kubernetes"

// pod is what counting needs of a Pod.
type pod struct {
	labels labels.Set
	node   string
	ended  bool
}

// pods are one watch per namespace, whatever is selected of it.
var pods = kube.Kind[*corev1.Pod, pod]{
	Group: corev1.SchemeGroupVersion, Resource: "pods", Role: role,
	Keep: func(p *corev1.Pod) pod {
		return pod{
			labels: p.Labels, node: p.Spec.NodeName,
			ended: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		}
	},
	Size: func(p pod) int { return len(p.node) + kube.SizeOf(p.labels) },
}

// workloadSource counts the Pods that one selector matches.
type workloadSource struct {
	pods     *kube.View[pod]
	selector labels.Selector
	byNode   bool
}

func openWorkload(ctx context.Context, p workloadParams) (scaler.Source, error) {
	selector, err := parseSelector(p.PodSelector)
	if err != nil {
		return nil, err
	}
	view, err := pods.Watch(ctx, kube.Selection{Namespace: p.Namespace})
	if err != nil {
		return nil, err
	}
	return &workloadSource{pods: view, selector: selector, byNode: p.GroupByNode}, nil
}

// Read counts Pods that have not ended; whether they are ready does not matter.
// Pods without a node count on none.
func (s *workloadSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	count, nodes := 0, map[string]bool{}
	err := s.pods.Visit(ctx, func(_ string, p pod) {
		if !s.counts(&p) {
			return
		}
		count++
		if p.node != "" {
			nodes[p.node] = true
		}
	})
	if err != nil {
		return nil, err
	}
	if s.byNode {
		count = len(nodes)
	}
	return scaler.One(float64(count)), nil
}

func (s *workloadSource) counts(p *pod) bool {
	return p != nil && !p.ended && s.selector.Matches(p.labels)
}

// Listen rings when a Pod begins or ceases to count, or counts on another node.
func (s *workloadSource) Listen(ctx context.Context, listening, ring func()) error {
	return s.pods.Listen(ctx, listening, ring, func(before, after *pod) bool {
		was, is := s.counts(before), s.counts(after)
		return was != is || was && s.byNode && before.node != after.node
	})
}
