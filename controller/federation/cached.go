package federation

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// recent keeps answers of peers that are polled, for triggers whose user wants
// cached metrics: a family answers those from its snapshot by itself, and a
// third party must not be asked more often than its poll.
type recent struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	answers map[recentKey]recentAnswer
	of      map[string]int // by namespace
	swept   time.Time
}

type recentKey struct {
	id     ID
	metric string
}

type recentAnswer struct {
	generation int64
	value      float64
	until      time.Time
}

const (
	recentSweep = time.Minute
	// mostRecent are kept in all, mostRecentOfOne of a namespace, which has no more
	// than twice as many as it leaves to others: whoever asks makes up the names of
	// metrics. What is not kept is asked again. longestRecent is how long one may be
	// called so, and longestRecentName how long its name may be.
	mostRecent, mostRecentOfOne = 20_000, 2_000
	longestRecent               = time.Hour
	longestRecentName           = 512
)

func newRecent(c clock.PassiveClock) *recent {
	return &recent{clock: c, answers: map[recentKey]recentAnswer{}, of: map[string]int{}}
}

// get returns an answer that may still be given.
func (r *recent) get(t Trigger, metric string) (float64, bool) {
	if !t.UseCachedMetrics {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	answer, ok := r.answers[recentKey{t.ID, metric}]
	return answer.value, ok && answer.generation == t.Generation && r.clock.Now().Before(answer.until)
}

func (r *recent) put(t Trigger, metric string, value float64) {
	if !t.UseCachedMetrics || len(metric) > longestRecentName {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if now.Sub(r.swept) > recentSweep {
		r.swept = now
		for key, answer := range r.answers {
			if !now.Before(answer.until) {
				r.forget(key)
			}
		}
	}
	key := recentKey{t.ID, metric}
	if _, there := r.answers[key]; !there {
		taken := r.of[t.Namespace]
		if taken >= mostRecentOfOne || kept.Left(mostRecent, len(r.answers), taken) < 1 {
			return
		}
		r.of[t.Namespace]++
	}
	r.answers[key] = recentAnswer{generation: t.Generation, value: value, until: now.Add(min(t.polling(), longestRecent))}
}

// forget drops an answer; r.mu is held.
func (r *recent) forget(key recentKey) {
	delete(r.answers, key)
	if r.of[key.id.Namespace]--; r.of[key.id.Namespace] == 0 {
		delete(r.of, key.id.Namespace)
	}
}
