package scalertest

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
)

// NobodyComputes has all turns at the processors taken by others, and fails the
// test unless compute, which is called with that, ends with its context and with
// nothing; and unless it goes on when there are turns again.
func NobodyComputes(t *testing.T, compute func(ctx context.Context) error) {
	t.Helper()
	release := occupy(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := compute(ctx); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("while others compute: %v, want DeadlineExceeded", err)
	}
	release()
	if err := compute(t.Context()); err != nil {
		t.Errorf("when nobody computes any more: %v", err)
	}
}

// occupy has namespaces of others take all turns, until release is called.
func occupy(t *testing.T) (release func()) {
	t.Helper()
	var turns []*computing.Turn
	release = func() {
		for _, turn := range turns {
			turn.Rest()
		}
	}
	t.Cleanup(release)
	most, ofOne := computing.Places()
	for i := range most {
		turn := &computing.Turn{}
		if err := turn.Work(budget.Of(t.Context(), string(rune('a'+i/ofOne)))); err != nil {
			t.Fatal(err)
		}
		turns = append(turns, turn)
	}
	return release
}
