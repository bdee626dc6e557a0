package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// TestThoseAskedAloneComeLast: they may be many, of whoever makes such triggers, and
// a batch has few requests under way at a time.
func TestThoseAskedAloneComeLast(t *testing.T) {
	q := resourceQuery{metric: "m", label: "id", window: alignment}
	var sources []scaler.Source
	for i := range 9 {
		s := &resourceSource{query: q, id: fmt.Sprint("s", i)}
		s.refused.Store(i < 3)
		s.byText.Store(i == 3)
		sources = append(sources, s)
	}
	got := q.parts(t.Context(), sources)
	want := [][]int{{4, 5, 6, 7, 8}, {3}, {0}, {1}, {2}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("parts = %v, want %v", got, want)
	}
}
