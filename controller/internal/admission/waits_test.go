package admission

import (
	"context"
	"slices"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/rules"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// stalled are families that have to be asked for long, about objects of one
// namespace.
type stalled struct {
	described
	namespace      string
	asked, release chan struct{}
}

func (s stalled) Check(ctx context.Context, t federation.Trigger) ([]string, error) {
	if t.Namespace == s.namespace && ctx.Err() == nil {
		s.asked <- struct{}{}
		<-s.release
	}
	return nil, ctx.Err()
}

// All reviews come from the same API servers. Whoever has those of one namespace
// take their time keeps none of another waiting.
func TestReviewsThatTakeTimeHoldUpNoOtherNamespace(t *testing.T) {
	f := newFixture(t)
	families := stalled{namespace: "enemy", asked: make(chan struct{}, mostReviews), release: make(chan struct{})}
	f.Families = families
	f.handlers[pathScaledObject] = ofPeers(inbound.NewEntrance(mostReviews, mostOfOne, mostJudged), f.handlers[pathScaledObject])
	review := func(namespace string) (told []string) {
		return f.ask(pathScaledObject, scaledObject(func(so *v1alpha1.ScaledObject) { so.Namespace = namespace }), nil).Warnings
	}
	answers := make(chan []string, 2*mostReviews)
	for range 2 * mostReviews {
		go func() { answers <- review("enemy") }()
	}
	for range mostOfNamespace {
		<-families.asked
	}
	for range 2*mostReviews - mostOfNamespace {
		if told := <-answers; !slices.Contains(told, rules.Unwaited) {
			t.Fatalf("who did not wait is told %q", told)
		}
	}
	if told := review("bank"); slices.Contains(told, rules.Unwaited) {
		t.Errorf("another namespace is told %q", told)
	}
	close(families.release)
	for range mostOfNamespace {
		if told := <-answers; slices.Contains(told, rules.Unwaited) {
			t.Errorf("who waited is told %q", told)
		}
	}
	if f.waits.all != 0 || len(f.waits.of) != 0 {
		t.Errorf("%d of %v wait in the end", f.waits.all, f.waits.of)
	}
}
