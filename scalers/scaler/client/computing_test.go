package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
)

// TestLargeAnswersAreUnderstoodInTurn: small ones wait for nobody, large ones until
// they may be made something of, as long as the read.
func TestLargeAnswersAreUnderstoodInTurn(t *testing.T) {
	most, ofOne := computing.Places()
	turns := make([]Turn, most)
	for i := range turns {
		defer turns[i].Rest()
		if err := turns[i].Work(budget.Of(t.Context(), string(rune('a'+i/ofOne)))); err != nil {
			t.Fatal(err)
		}
	}
	done, err := understanding(t.Context(), smallAnswer)
	if err != nil {
		t.Errorf("a small answer: %v", err)
	}
	done()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := understanding(ctx, smallAnswer+1); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a large one while others compute: %v", err)
	}
	turns[0].Rest()
	if done, err = understanding(budget.Of(t.Context(), "a"), smallAnswer+1); err != nil {
		t.Errorf("when it is its turn: %v", err)
	}
	done()
}

// TestWhatIsLateIsNotMisunderstood: an answer that there was no time for is not said
// to be a wrong one.
func TestWhatIsLateIsNotMisunderstood(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	wrong := errors.New("the answer is wrong")
	_, err := Understand(ctx, nil, func(turn func() error) (int, error) {
		cancel()
		if turn() == nil {
			t.Error("a turn after the end")
		}
		return 1, wrong
	})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error = %v", err)
	}
	if _, err := Understand(ctx, make([]byte, smallAnswer+1), func(func() error) (int, error) { return 1, nil }); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a large answer after the end: %v", err)
	}
	n, err := Understand(ctx, make([]byte, smallAnswer), func(func() error) (int, error) { return 1, wrong })
	if n != 1 || !errors.Is(err, wrong) {
		t.Errorf("%d, %v", n, err)
	}
}
