package refusal

import (
	"testing"
	"time"
)

// TestPace: the first refusal counts, and then one every so often.
func TestPace(t *testing.T) {
	var p Pace
	now := time.Now()
	for after, due := range map[time.Duration]bool{0: true, Every - 1: false, Every: true} {
		p = Pace{}
		if after > 0 {
			p.Count(now)
		}
		if got := p.Due(now.Add(after), Every); got != due {
			t.Errorf("%v after the last one: %v, want %v", after, got, due)
		}
	}
}
