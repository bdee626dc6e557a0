package scaledjob

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Ends of Jobs are remembered in a bounded number, whatever their owners are
// called, and others have as many.
func TestEndsOfANamespaceAreBounded(t *testing.T) {
	r := &Reconciler{Now: func() time.Time { return began }}
	made := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: "flood", Name: fmt.Sprint("made-up-", i)}
	}
	for i := range 3 * mostNotices {
		r.Ended(made(i), "x")
	}
	if n := len(r.notices.ended); n != mostNotices {
		t.Errorf("%d ends are remembered", n)
	}
	r.Ended(key, "a")
	if got := r.notices.take(key); len(got) != 1 {
		t.Errorf("of another namespace: %v", got)
	}
	r.Ended(made(0), "x") // known
	taken := r.notices.take(made(0))
	r.Ended(made(mostNotices), "y") // has the place
	r.notices.giveBack(made(0), taken)
	if n := len(r.notices.ended); n != mostNotices || len(taken) != 1 {
		t.Errorf("%d ends are remembered, %d taken", n, len(taken))
	}
	for i := range 3 * mostNotices {
		r.notices.take(made(i))
	}
	if len(r.notices.ended) > 0 || len(r.notices.of) > 0 {
		t.Errorf("left are %d, and %v", len(r.notices.ended), r.notices.of)
	}
}
