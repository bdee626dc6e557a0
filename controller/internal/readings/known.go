package readings

import (
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Known is what is remembered of one trigger from decision to decision.
type Known struct {
	// Failures are those of the last decision's verdict.
	Failures scaling.Failures
	// Woke is when the work arrived that last woke the target.
	Woke time.Time

	// hash tells one spec of the trigger from the next.
	hash string
	// since is the generation that brought the spec: what was said for an
	// earlier one is about something else.
	since     int64
	firstSeen time.Time
	// interval is the time between two readings at the last decision, failed
	// whether that found it failing.
	interval time.Duration
	failed   bool
	// paced is when a good reading was given a new interval: from then on it
	// holds as long as one of that moment would.
	paced time.Time
	// observed is when the source was read that the last decision followed
	// from.
	observed time.Time

	// heard counts how often the trigger turned active; acted is what of that
	// was carried out. A pulse counts until it was.
	heard, acted uint64
	counting     bool
}

// Follow is what is known of the triggers of a generation, and the indexes of
// those that are not what they were, or not there any more. What is known
// outlives changes that leave a trigger alone.
func Follow(before []Known, triggers []v1alpha1.ScaleTrigger, generation int64, now time.Time) (after []Known, changed []int) {
	after = make([]Known, len(triggers))
	for i, spec := range triggers {
		hash := spec.Hash()
		if i < len(before) && before[i].hash == hash {
			after[i] = before[i]
			continue
		}
		after[i] = Known{hash: hash, since: generation, firstSeen: now}
		changed = append(changed, i)
	}
	for i := len(after); i < len(before); i++ {
		changed = append(changed, i)
	}
	return after, changed
}

// Seed takes over the failures that another process counted and left in the
// status. since is when a fallback began, by metric.
func Seed(known []Known, health map[string]v1alpha1.HealthStatus, since map[string]time.Time, now time.Time) {
	for metric, h := range health {
		i, _, ok := scaling.SplitMetricName(metric)
		if !ok || i >= len(known) || h.NumberOfFailures == nil {
			continue
		}
		if n := *h.NumberOfFailures; n > known[i].Failures.Count {
			known[i].Failures = scaling.SeedFailures(n, since[metric], now)
		}
	}
}

// Anew forgets what was read: the trigger is asked afresh.
func (k *Known) Anew(now time.Time) {
	*k = Known{hash: k.hash, since: k.since, firstSeen: now}
}

// Keep remembers the verdict of a decision.
func (k *Known) Keep(v scaling.Verdict) {
	k.Failures, k.failed = v.Failures, v.Outcome == scaling.Failed
}

// CarriedOut takes note that what the trigger asked for was done.
func (k *Known) CarriedOut() { k.acted = k.heard }

// pace takes note of the time between two readings. Where it changes, as when
// the target wakes, neither is a good reading too old at once, nor has a trigger
// failed more often than it was read.
func (k *Known) pace(interval time.Duration, now time.Time) {
	changed := k.interval != 0 && k.interval != interval
	if k.interval = interval; !changed {
		return
	}
	if !k.failed {
		k.paced = now
	}
	if k.Failures.Count > 0 {
		k.Failures.Last = latest(k.Failures.Last, now)
	}
}

// pulsed reports whether the trigger turned active since the last decision that
// was carried out. The first count that is seen, and one that began again with
// a new subscription, is where counting starts.
func (k *Known) pulsed(activations uint64) bool {
	if !k.counting || activations < k.acted {
		k.counting, k.acted = true, activations
	}
	k.heard = activations
	return activations > k.acted
}
