package federation

import (
	"testing"
)

func TestATriggerIsObservedThroughItsService(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.bell)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.service("kafka", f)
	w.until("the value is known", w.observed(orders, 7))

	s := w.state(orders)
	if s.Generation != 1 || s.Family != "kafka" || !s.Accepted || s.Detection != DetectionDoorbell || !s.Active() {
		t.Errorf("state = %+v", s)
	}
	if !s.HaveSpecs || s.Specs[0] != (MetricSpec{Name: "backlog", Target: 5}) {
		t.Errorf("specs = %v", s.Specs)
	}
	if s.HeardAt.IsZero() || s.ObservedAt.IsZero() || s.Unreachable != nil {
		t.Errorf("state = %+v", s)
	}
}
