package client

import (
	"context"
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
	done, err := Understanding(t.Context(), smallAnswer)
	if err != nil {
		t.Errorf("a small answer: %v", err)
	}
	done()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Understanding(ctx, smallAnswer+1); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a large one while others compute: %v", err)
	}
	turns[0].Rest()
	if done, err = Understanding(budget.Of(t.Context(), "a"), smallAnswer+1); err != nil {
		t.Errorf("when it is its turn: %v", err)
	}
	done()
}
