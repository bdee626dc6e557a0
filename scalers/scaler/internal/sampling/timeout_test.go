package sampling

import (
	"context"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// TestWhoAsksOftenShortensNoRead: a question that two ask has the time of the one
// who has more.
func TestWhoAsksOftenShortensNoRead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		q := asking("q", &fake{answer: lasting(duration(5 * time.Second))})
		u := userEvery(30 * time.Second)
		s.Join(q, u.User)
		often := userEvery(time.Second)
		s.Join(q, often.User)
		for range 3 {
			pass(time.Minute)
			if snap := u.snap(); snap == nil || snap.Err != nil {
				t.Errorf("beside one who asks every second: %+v", snap)
			}
		}
	})
}

func TestATimeoutOfTheTriggersOwnCounts(t *testing.T) {
	tests := map[string]struct {
		interval, timeout, want time.Duration
	}{
		"none of its own":              {interval: time.Minute, want: 10 * time.Second},
		"longer than a short interval": {interval: time.Second, timeout: 8 * time.Second, want: 8 * time.Second},
		"longer than the usual limit":  {interval: 15 * time.Second, timeout: 30 * time.Second, want: 30 * time.Second},
		"longer than what is allowed":  {interval: 15 * time.Second, timeout: time.Hour, want: time.Minute},
		"shorter than the interval":    {interval: 15 * time.Second, timeout: time.Second, want: 10 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				given := make(chan time.Duration, 1)
				b := asking("q", &fake{answer: func(ctx context.Context) ([]contract.Reading, error) {
					end, _ := ctx.Deadline()
					select {
					case given <- time.Until(end):
					default:
					}
					return contract.One(1), nil
				}})
				b.Timeout = tt.timeout
				s.Join(b, userEvery(tt.interval).User)
				if got := <-given; got != tt.want {
					t.Errorf("a read is given %v, want %v", got, tt.want)
				}
			})
		})
	}
}
