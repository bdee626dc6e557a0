package federation

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// recent keeps answers of peers that are polled, for triggers whose user wants
// cached metrics: a family answers those from its snapshot by itself, and a
// third party must not be asked more often than its poll.
type recent struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	answers map[recentKey]recentAnswer
	swept   time.Time
}

type recentKey struct {
	id         ID
	generation int64
	metric     string
}

type recentAnswer struct {
	value float64
	until time.Time
}

const recentSweep = time.Minute

func newRecent(c clock.PassiveClock) *recent {
	return &recent{clock: c, answers: map[recentKey]recentAnswer{}}
}

// get returns an answer that may still be given.
func (r *recent) get(t Trigger, metric string) (float64, bool) {
	if !t.UseCachedMetrics {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	answer, ok := r.answers[recentKey{t.ID, t.Generation, metric}]
	return answer.value, ok && r.clock.Now().Before(answer.until)
}

func (r *recent) put(t Trigger, metric string, value float64) {
	if !t.UseCachedMetrics {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if now.Sub(r.swept) > recentSweep {
		r.swept = now
		for key, answer := range r.answers {
			if !now.Before(answer.until) {
				delete(r.answers, key)
			}
		}
	}
	r.answers[recentKey{t.ID, t.Generation, metric}] = recentAnswer{value: value, until: now.Add(t.polling())}
}
