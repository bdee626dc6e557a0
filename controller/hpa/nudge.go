package hpa

import (
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// NudgePeriod is the shortest time between two nudges of one HPA.
const NudgePeriod = time.Second

// Nudge is what is known when it is asked whether an HPA should look at its
// metrics at once, and not only when its period is over.
type Nudge struct {
	// HPA has the spec. What it remembers is not known, so none of it is used.
	HPA    Autoscaler
	Target Scale
	// Read returns what the HPA would be told of a metric by now; of one that is not
	// known, such as cpu, an error.
	Read func(autoscalingv2.MetricSpec) (resource.Quantity, error)
	// Status is what the HPA said after its last look.
	Status autoscalingv2.HorizontalPodAutoscalerStatus
	// Asked is the most replicas that it was made to look for since it last had
	// nothing to add, and At when that was.
	Asked int32
	At    time.Time
}

// Due reports whether the HPA would add replicas if it looked now, and nothing
// that it said or was asked makes a look pointless. wants is how many its metrics
// ask for, 0 where it would add none: then Asked begins again. wait is how long it
// is until the look is due, where only time is missing.
//
// It is never due to lower anything, nor where an HPA waits for its policies or
// has a window for rises: it has to see those readings at its own pace.
func (n Nudge) Due(now time.Time) (wants int32, due bool, wait time.Duration) {
	a := n.HPA
	a.started, a.recommendations, a.ups, a.downs = false, nil, nil, nil
	r := a.Sync(now, n.Target, n.Read)
	if r.Wants == 0 || r.Replicas <= n.Target.Replicas {
		return 0, false, 0
	}
	if r.Wants <= n.Asked || holdsBack(n.Status) {
		return r.Wants, false, 0
	}
	if wait = NudgePeriod - now.Sub(n.At); wait > 0 && !n.At.IsZero() {
		return r.Wants, false, min(wait, NudgePeriod)
	}
	return r.Wants, true, 0
}

// What the HPA controller calls it that an HPA does not add what its metrics ask
// for.
const (
	limitedByRate    = "ScaleUpLimit"
	limitedByMaximum = "TooManyReplicas"
	limitedByWindow  = "ScaleUpStabilized"
)

// holdsBack reports whether the HPA added less than its metrics asked for when it
// looked last.
func holdsBack(status autoscalingv2.HorizontalPodAutoscalerStatus) bool {
	for _, c := range status.Conditions {
		switch c.Reason {
		case limitedByRate, limitedByMaximum, limitedByWindow:
			return true
		}
	}
	return false
}

// LooksAtOnce reports whether the controller of an HPA says which generation of it
// it has seen. One that does looks at a changed spec at once, as that of Kubernetes
// 1.37 with feature gate HPAGeneration; others look when their period is over.
func LooksAtOnce(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return hpa.Status.ObservedGeneration != nil
}

// AboutToLook reports whether a changed spec has yet to be seen.
func AboutToLook(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return LooksAtOnce(hpa) && *hpa.Status.ObservedGeneration < hpa.Generation
}

// Of is an HPA as its spec has it, with the flags of a kube-controller-manager at
// their defaults.
func Of(spec autoscalingv2.HorizontalPodAutoscalerSpec) Autoscaler {
	a := Autoscaler{
		Min: 1, Max: spec.MaxReplicas, Metrics: spec.Metrics, Behavior: spec.Behavior,
		Tolerance: Tolerance, DownscaleWindow: DownscaleWindow,
	}
	if spec.MinReplicas != nil {
		a.Min = max(*spec.MinReplicas, 1)
	}
	if b := spec.Behavior; b != nil && (b.ScaleUp == nil || b.ScaleDown == nil) { // as no API server leaves it
		a.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{}, ScaleDown: &autoscalingv2.HPAScalingRules{}}
	}
	return a
}
