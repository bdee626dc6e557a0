package activation

import (
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	// trialTime is how soon an HPA is to be looked at after it was changed. One that
	// is looked at in its own period only is late four times of five.
	trialTime = 3 * time.Second
	// mostHits and mostMisses end the trial of a cluster, whichever are first.
	mostHits, mostMisses = 2, 3
)

// effect is whether the controller of this cluster's HPAs looks at one that was
// changed, found out by the first few that are. Until that is known one at a time
// is. Whoever leads next finds out anew.
type effect struct {
	mu     sync.Mutex
	hits   int
	misses int
	trial  *trial // nil for none
}

// trial is an HPA that was changed, and when it is to have been looked at.
type trial struct {
	of         types.UID
	generation int64 // 0 until it is written
	until      time.Time
}

// judge looks whether the trial is over. It returns when it is to be looked at
// again, 0 where it is not about this HPA.
func (e *effect) judge(live *autoscalingv2.HorizontalPodAutoscaler, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.trial == nil || e.trial.of != live.UID || e.trial.generation == 0 {
		return 0
	}
	switch {
	case ptr.Deref(live.Status.ObservedGeneration, 0) >= e.trial.generation:
		e.hits++
	case now.Before(e.trial.until):
		return e.trial.until.Sub(now)
	default:
		e.misses++
	}
	e.trial = nil
	return 0
}

// tries reports whether an HPA may be changed, or else when to ask again.
func (e *effect) tries(live *autoscalingv2.HorizontalPodAutoscaler, now time.Time) (bool, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.misses >= mostMisses:
		return false, 0
	case e.hits >= mostHits:
		return true, 0
	case e.trial != nil && now.Before(e.trial.until.Add(trialTime)): // else nobody saw how it ended
		return false, max(e.trial.until.Sub(now), afterConflict)
	}
	e.trial = &trial{of: live.UID, until: now.Add(trialTime)}
	return true, 0
}

// wrote notes the generation of an HPA that was changed. One that is as before is
// of an API server that counts none. It returns when the trial is to be judged.
func (e *effect) wrote(live *autoscalingv2.HorizontalPodAutoscaler, generation int64, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case generation <= live.Generation:
		e.hits, e.misses, e.trial = 0, mostMisses, nil
	case e.trial != nil && e.trial.of == live.UID:
		e.trial.generation, e.trial.until = generation, now.Add(trialTime)
		return trialTime
	}
	return 0
}

// drop ends the trial of an HPA that was not changed.
func (e *effect) drop(live *autoscalingv2.HorizontalPodAutoscaler) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.trial != nil && e.trial.of == live.UID {
		e.trial = nil
	}
}

// anew forgets what was found out.
func (e *effect) anew() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hits, e.misses, e.trial = 0, 0, nil
}
