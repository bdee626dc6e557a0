package ui

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// detail is what is shown of facts.
func detail(facts *why.Facts) Detail {
	d := Detail{Why: why.Of(facts)}
	if last := d.Why.ColdStart; last != nil {
		d.ColdStart = last.Words()
	}
	var conditions v1alpha1.Conditions
	if facts.ScaledJob != nil {
		conditions = facts.ScaledJob.Status.Conditions
	} else if facts.ScaledObject != nil {
		conditions = facts.ScaledObject.Status.Conditions
	}
	for _, c := range conditions {
		d.Conditions = append(d.Conditions, Condition{
			Type: string(c.Type), Status: string(c.Status), Reason: c.Reason, Message: c.Message,
		})
	}
	if a := facts.Account; a != nil {
		for _, e := range slices.Backward(a.Earlier) {
			d.Told = append(d.Told, decided(e.Last))
		}
		d.Told = append(d.Told, decided(a.Last))
		for _, c := range a.Changes {
			d.Decisions = append(d.Decisions, Decision{Time: c.Time.Time, Text: c.Message})
		}
	}
	slices.Reverse(d.Decisions)
	return d
}

// decided is what a decision looked at. Of several metrics it is the one that asks
// for most replicas; its target is that of all replicas together.
func decided(e scaling.Explanation) Point {
	p := Point{Time: e.Time, Replicas: e.Replicas}
	if e.Write != nil {
		p.Replicas = e.Write
	}
	if e.Jobs != nil {
		queue, running := float64(e.Jobs.QueueLength), e.Jobs.Running
		p.Backlog, p.Replicas = &queue, &running
		return p
	}
	most := 0.0
	for _, m := range e.Metrics {
		if m.Value == nil || m.Target <= 0 {
			continue
		}
		asks, target := *m.Value/m.Target, m.Target
		if m.Kind == autoscalingv2.AverageValueMetricType && p.Replicas != nil {
			target *= float64(*p.Replicas)
		}
		if p.Backlog == nil || asks > most {
			most, p.Backlog, p.Target = asks, m.Value, &target
		}
	}
	return p
}
