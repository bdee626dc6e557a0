package federation

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// Whoever asks makes up the names of metrics, and generations of objects go on for
// ever: of a namespace some answers are kept, for a while, and others have theirs.
func TestCachedAnswersAreBounded(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	r := newRecent(clock)
	one := trigger("kafka", 0)
	one.UseCachedMetrics, one.PollingInterval = true, math.MaxInt32*time.Second
	for generation := range int64(5) {
		one.Generation = generation
		for i := range mostRecentOfOne {
			r.put(one, fmt.Sprint("s0-", i), 1)
			r.put(one, fmt.Sprint("s0-", generation, "-", i), 1)
		}
	}
	r.put(one, strings.Repeat("x", 4<<10), 1)
	if n := len(r.answers); n > mostRecentOfOne {
		t.Errorf("%d answers of a namespace are kept", n)
	}
	if _, ok := r.get(one, "s0-1"); !ok {
		t.Error("what is kept is not the newest generation's")
	}
	for i := range 100 * mostRecentOfOne {
		flood := one
		flood.Namespace = fmt.Sprint("flood-", i%50)
		r.put(flood, fmt.Sprint(i), 1)
	}
	other := one
	other.Namespace = "till"
	if r.put(other, "s0-1", 7); len(r.answers) > mostRecent {
		t.Errorf("%d answers are kept in all", len(r.answers))
	}
	if value, ok := r.get(other, "s0-1"); !ok || value != 7 {
		t.Error("a namespace with one answer has no room")
	}
	clock.SetTime(clock.Now().Add(longestRecent))
	r.put(other, "s0-2", 7)
	if len(r.answers) != 1 || len(r.of) != 1 {
		t.Errorf("after an hour %d answers of %d namespaces are kept", len(r.answers), len(r.of))
	}
}
