// Package hpa is the algorithm of Kubernetes' HorizontalPodAutoscaler controller
// for external metrics: which number of replicas it writes at a sync, by what it
// was told and what it did before. It has no clock but the one passed in, so that
// hours are replayed at once; and when a look at once would add replicas.
//
// Module test/hpa holds it against the real controller, sync by sync.
//
// Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
package hpa

import (
	"errors"
	"fmt"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What the flags of a kube-controller-manager are by default.
const (
	// SyncPeriod is --horizontal-pod-autoscaler-sync-period.
	SyncPeriod = 15 * time.Second
	// Tolerance is --horizontal-pod-autoscaler-tolerance.
	Tolerance = 0.1
	// DownscaleWindow is --horizontal-pod-autoscaler-downscale-stabilization.
	DownscaleWindow = 5 * time.Minute
)

// Autoscaler is one HPA and what its controller remembers of it. The fields are
// set before its first Sync.
type Autoscaler struct {
	// Min and Max are the bounds of spec, Min at least 1.
	Min, Max int32
	// Metrics are those of spec, of which external ones alone are known.
	Metrics []autoscalingv2.MetricSpec
	// Behavior is that of spec as the API server completes it, nil for none.
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior
	// Tolerance is by how much of the target usage may differ from it, where the
	// behavior does not say.
	Tolerance float64
	// DownscaleWindow is how long a recommendation keeps replicas from going
	// below it, where the behavior does not say.
	DownscaleWindow time.Duration

	started         bool
	recommendations []recommendation
	ups, downs      []change
}

// recommendation is what the metrics asked for at a sync.
type recommendation struct {
	replicas int32
	at       time.Time
}

// change is by how much the controller changed the replicas.
type change struct {
	by int32
	at time.Time
}

// Scale is the target at a sync.
type Scale struct {
	// Replicas is spec.replicas, Pods status.replicas, Ready how many of the Pods
	// are.
	Replicas, Pods, Ready int32
}

// Result is what came of a sync.
type Result struct {
	// Replicas of spec after it.
	Replicas int32
	// Wants is what the metrics asked for, before anything limited it; 0 where
	// they were not asked.
	Wants int32
	// Limit says why Replicas is not Wants.
	Limit Limit
	// Err is why metrics were left out, or nothing was done.
	Err error
}

// Limit is what keeps an HPA from what its metrics ask for.
type Limit string

// The limits.
const (
	Unlimited Limit = ""
	// Disabled: the target is at zero, which is not the HPA's business.
	Disabled Limit = "disabled"
	// Unreadable: a metric that could not be read might ask for more.
	Unreadable Limit = "unreadable"
	// Bounds are minimum and maximum.
	Bounds Limit = "bounds"
	// Window is a stabilization window.
	Window Limit = "window"
	// Rate is a policy, or without a behavior the most that a sync may add.
	Rate Limit = "rate"
)

// Sync is one look at the target and its metrics. read returns what the API server
// answers for a metric.
func (a *Autoscaler) Sync(now time.Time, target Scale, read func(autoscalingv2.MetricSpec) (resource.Quantity, error)) Result {
	current := target.Replicas
	if !a.started {
		a.started = true
		a.recommendations = []recommendation{{current, now}}
	}
	r := Result{Replicas: current}
	switch {
	case current == 0:
		r.Limit = Disabled
		return r
	case current > a.Max:
		r.Replicas, r.Limit = a.Max, Bounds
	case current < a.Min:
		r.Replicas, r.Limit = a.Min, Bounds
	default:
		wants, err := a.wanted(target, read)
		if r.Err = err; wants < 0 {
			r.Limit = Unreadable
			return r
		}
		r.Wants = wants
		r.Replicas, r.Limit = a.normalized(now, current, wants)
	}
	a.remember(now, current, r.Replicas)
	return r
}

// wanted is the most that a metric asks for. It is -1 where nothing follows: no
// metric can be read, or one cannot and the others would have fewer replicas.
func (a *Autoscaler) wanted(target Scale, read func(autoscalingv2.MetricSpec) (resource.Quantity, error)) (int32, error) {
	var most int32
	var first error
	failed := 0
	for _, metric := range a.Metrics {
		n, err := a.proposal(target, metric, read)
		if err != nil {
			if failed++; first == nil {
				first = err
			}
			continue
		}
		most = max(most, n)
	}
	if first != nil {
		first = fmt.Errorf("%d of %d metrics could not be read: %w", failed, len(a.Metrics), first)
	}
	if failed == len(a.Metrics) || failed > 0 && most < target.Replicas {
		return -1, first
	}
	return most, first
}

var errNotExternal = errors.New("is no external metric with a target")

// proposal is how many replicas one metric asks for.
func (a *Autoscaler) proposal(target Scale, metric autoscalingv2.MetricSpec, read func(autoscalingv2.MetricSpec) (resource.Quantity, error)) (int32, error) {
	if metric.External == nil || metric.External.Target.AverageValue == nil && metric.External.Target.Value == nil {
		return 0, errNotExternal
	}
	quantity, err := read(metric)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", metric.External.Metric.Name, err)
	}
	usage := float64(quantity.MilliValue())
	if average := metric.External.Target.AverageValue; average != nil {
		each := float64(average.MilliValue())
		if a.tolerates(usage / (each * float64(target.Pods))) {
			return target.Pods, nil
		}
		return whole(math.Ceil(usage / each)), nil
	}
	ratio := usage / float64(metric.External.Target.Value.MilliValue())
	switch {
	case a.tolerates(ratio):
		return target.Replicas, nil
	case target.Pods == 0:
		return 0, fmt.Errorf("%s: no Pod to count", metric.External.Metric.Name)
	}
	return whole(math.Ceil(ratio * float64(target.Ready))), nil
}

// tolerates reports whether usage is near enough to its target.
func (a *Autoscaler) tolerates(ratio float64) bool {
	down, up := a.Tolerance, a.Tolerance
	if b := a.Behavior; b != nil && b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
		down = b.ScaleDown.Tolerance.AsApproximateFloat64()
	}
	if b := a.Behavior; b != nil && b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
		up = b.ScaleUp.Tolerance.AsApproximateFloat64()
	}
	return 1-down <= ratio && ratio <= 1+up
}

// normalized is what is made of what the metrics want.
func (a *Autoscaler) normalized(now time.Time, current, wants int32) (int32, Limit) {
	if a.Behavior == nil {
		return a.simple(now, current, wants)
	}
	stable := a.stabilized(now, current, wants)
	allowed, limit := stable, Unlimited
	switch {
	case stable > current:
		allowed, limit = a.atMost(now, current, stable)
	case stable < current:
		allowed, limit = a.atLeast(now, current, stable)
	}
	if limit == Unlimited && stable != wants {
		limit = Window
	}
	return allowed, limit
}

// The most that a sync makes of replicas without a behavior: twice as many, or
// few.
const doubled, few = 2, 4

// simple is the way without a behavior.
func (a *Autoscaler) simple(now time.Time, current, wants int32) (int32, Limit) {
	stable, old := wants, -1
	for i, r := range a.recommendations {
		if r.at.Before(now.Add(-a.DownscaleWindow)) {
			old = i
		} else {
			stable = max(stable, r.replicas)
		}
	}
	a.recommend(old, recommendation{wants, now})
	most := whole(max(doubled*float64(current), few))
	switch {
	case stable < a.Min:
		return a.Min, Bounds
	case stable > most && most < a.Max:
		return most, Rate
	case stable > a.Max:
		return a.Max, Bounds
	case stable != wants:
		return stable, Window
	}
	return stable, Unlimited
}

// recommend remembers a recommendation, in the place of an old one if there is
// one.
func (a *Autoscaler) recommend(old int, r recommendation) {
	if old >= 0 {
		a.recommendations[old] = r
		return
	}
	a.recommendations = append(a.recommendations, r)
}

// stabilized holds replicas between the lowest of the recommendations in the
// window of scaling up and the highest in that of scaling down.
func (a *Autoscaler) stabilized(now time.Time, current, wants int32) int32 {
	upSince := now.Add(-window(a.Behavior.ScaleUp, 0))
	downSince := now.Add(-window(a.Behavior.ScaleDown, a.DownscaleWindow))
	low, high, old := wants, wants, -1
	for i, r := range a.recommendations {
		if r.at.After(upSince) {
			low = min(low, r.replicas)
		}
		if r.at.After(downSince) {
			high = max(high, r.replicas)
		}
		if r.at.Before(upSince) && r.at.Before(downSince) {
			old = i
		}
	}
	a.recommend(old, recommendation{wants, now})
	return min(max(current, low), high)
}

func window(rules *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

// atMost is a rise as the policies and the maximum let it be.
func (a *Autoscaler) atMost(now time.Time, current, wants int32) (int32, Limit) {
	most, limit := a.Max, Bounds
	if rate := max(a.limit(now, current, a.Behavior.ScaleUp, 1), current); rate < most {
		most, limit = rate, Rate
	}
	if wants > most {
		return most, limit
	}
	return wants, Unlimited
}

// atLeast is a fall as the policies and the minimum let it be.
func (a *Autoscaler) atLeast(now time.Time, current, wants int32) (int32, Limit) {
	least, limit := a.Min, Bounds
	if rate := min(a.limit(now, current, a.Behavior.ScaleDown, -1), current); rate > least {
		least, limit = rate, Rate
	}
	if wants < least {
		return least, limit
	}
	return wants, Unlimited
}

// limit is how far the policies of a direction, 1 or -1, let the replicas go.
func (a *Autoscaler) limit(now time.Time, current int32, rules *autoscalingv2.HPAScalingRules, direction int32) int32 {
	chosen := autoscalingv2.MaxChangePolicySelect
	if rules.SelectPolicy != nil {
		chosen = *rules.SelectPolicy
	}
	if chosen == autoscalingv2.DisabledPolicySelect {
		return current
	}
	// The largest change up is the highest number, down it is the lowest.
	highest := (chosen != autoscalingv2.MinChangePolicySelect) == (direction > 0)
	result := int32(math.MaxInt32)
	if highest {
		result = math.MinInt32
	}
	for _, policy := range rules.Policies {
		since := now.Add(-time.Duration(policy.PeriodSeconds) * time.Second)
		start := current - sum(a.ups, since) + sum(a.downs, since)
		var to int32
		if policy.Type == autoscalingv2.PodsScalingPolicy {
			to = start + direction*policy.Value
		} else {
			// Up it is rounded up: a few percent of few would be none for ever.
			to = percent(start, direction*policy.Value, direction > 0)
		}
		if highest {
			result = max(result, to)
		} else {
			result = min(result, to)
		}
	}
	return result
}

func percent(of, by int32, up bool) int32 {
	to := float64(of) * (1 + float64(by)/100)
	if up {
		to = math.Ceil(to)
	}
	return whole(to)
}

// sum is by how much changes since a moment were.
func sum(changes []change, since time.Time) (total int32) {
	for _, c := range changes {
		if c.at.After(since) {
			total += c.by
		}
	}
	return total
}

// remember takes note of a change that the policies count.
func (a *Autoscaler) remember(now time.Time, from, to int32) {
	switch {
	case a.Behavior == nil:
	case to > from:
		a.ups = with(a.ups, change{to - from, now}, a.Behavior.ScaleUp)
	case to < from:
		a.downs = with(a.downs, change{from - to, now}, a.Behavior.ScaleDown)
	}
}

// with adds a change, in the place of one that no policy of its direction counts
// any more. The other direction's may have longer periods, so it is not all the
// same which one goes.
func with(changes []change, c change, rules *autoscalingv2.HPAScalingRules) []change {
	var longest int32
	for _, policy := range rules.Policies {
		longest = max(longest, policy.PeriodSeconds)
	}
	since := c.at.Add(-time.Duration(longest) * time.Second)
	for i := len(changes) - 1; i >= 0; i-- {
		if changes[i].at.Before(since) {
			changes[i] = c
			return changes
		}
	}
	return append(changes, c)
}

// whole is a number of replicas.
func whole(n float64) int32 {
	switch {
	case n > math.MaxInt32:
		return math.MaxInt32
	case n > math.MinInt32:
		return int32(n)
	}
	return 0 // not a number: usage and target are 0
}
