package federation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// One namespace has no more than its share of a family: what comes later waits,
// what was there goes on, and other namespaces do not notice.
func TestNamespacesHaveAShareOfAFamily(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MostOfNamespace = 2 })
	w.service("kafka", newFamily(t, w.events))
	triggers := w.subscribeMany("kafka", 2)
	refused := func(one Trigger) func() bool {
		return func() bool {
			err := w.state(one).Unreachable
			return status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "namespace shop has 2 triggers of family ") &&
				strings.Contains(err.Error(), "--max-namespace-triggers")
		}
	}
	third, fourth := trigger("kafka", 2), trigger("kafka", 3)
	w.Subscribe(third)
	w.until("the third is refused", refused(third))
	w.Subscribe(fourth)
	w.until("the fourth is refused", refused(fourth))
	elsewhere := trigger("kafka", 4)
	elsewhere.Namespace = "bank"
	w.Subscribe(elsewhere)
	w.until("another namespace is served", w.observed(elsewhere, 7))
	if !w.allObserved(triggers, 7) {
		t.Error("those who were there are no longer served")
	}

	w.Unsubscribe(triggers[0].ID)
	w.until("one of them has its place", func() bool { return w.observed(third, 7)() || w.observed(fourth, 7)() })
	w.Unsubscribe(triggers[1].ID)
	w.until("the other has one, too", func() bool { return w.observed(third, 7)() && w.observed(fourth, 7)() })
	for _, one := range []Trigger{third, fourth, elsewhere} {
		w.Unsubscribe(one.ID)
	}
	if len(w.shares.taken) != 0 || len(w.shares.waiting) != 0 {
		t.Errorf("%v and %v are left", w.shares.taken, w.shares.waiting)
	}
}

// Whoever waits while its Service has no instance keeps the place that became
// free from nobody.
func TestRoomGoesToWhoCanBeServed(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MostOfNamespace = 1 })
	w.mu.Lock()
	w.places.most = 0 // who waits is kept
	w.mu.Unlock()
	for _, triggerType := range []string{"kafka", "apache-kafka"} {
		svc := plainService(triggerType)
		svc.Labels = map[string]string{familyLabel: "kafka"}
		w.put(svc)
		w.addresses(triggerType, newFamily(t, w.events))
	}
	first, lost := trigger("kafka", 0), trigger("apache-kafka", 1)
	w.Subscribe(first)
	w.until("the first is served", w.observed(first, 7))
	w.Subscribe(lost)
	unreachable := func(one Trigger, code codes.Code) func() bool {
		return func() bool { return status.Code(w.state(one).Unreachable) == code }
	}
	w.until("the other type waits", unreachable(lost, codes.ResourceExhausted))
	w.addresses("apache-kafka")
	w.until("its instance is gone", unreachable(lost, codes.Unavailable))
	next := trigger("kafka", 2)
	w.Subscribe(next)
	w.until("the next waits", unreachable(next, codes.ResourceExhausted))

	w.Unsubscribe(first.ID)
	w.until("the next has its place", w.observed(next, 7))
	if w.observed(lost, 7)() {
		t.Error("what has no instance is observed")
	}
}

// A panic over what is said of one trigger is that trigger's, and ends neither
// the stream nor the process.
func TestAPanicIsOneTriggers(t *testing.T) {
	e := newEvents()
	other := trigger("kafka", 1)
	w := newWorldWith(t, e, func(c *Config) {
		c.Changed = func(id ID) {
			e.happened()
			if id.Name == "worker-0" {
				panic("hit")
			}
		}
	})
	f := newFamily(t, w.events)
	w.service("kafka", f)
	triggers := w.subscribeMany("kafka", 2)
	poisoned := triggers[0]
	w.mu.Lock()
	w.subs[poisoned.String()].was = func(ID) { panic("hit") }
	w.mu.Unlock()
	f.push(observation(poisoned.String(), 1, 9))
	f.push(observation(other.String(), 1, 8))
	w.until("the other is observed", w.observed(other, 8))
	if state := w.state(poisoned); state.Outcome != scaling.Failed || status.Code(state.Err) != codes.Internal {
		t.Errorf("what could not be understood is %v, %v", state.Outcome, state.Err)
	}
	if n := len(f.history()); n != 2 {
		t.Errorf("the stream was opened again: %d subscriptions", n)
	}
}

// Triggers that no family serves are triggers of a namespace, too: beyond as many
// as it may have none is kept, its state says why, and other namespaces have theirs.
func TestTriggersThatNobodyServesAreBounded(t *testing.T) {
	room := bytesOf(trigger("made-up-0", 0))
	w := newWorld(t, func(c *Config) { c.MostOfNamespace, c.Memory = 2, 16*room })
	madeUp := func(namespace string, n int) Trigger {
		one := trigger(fmt.Sprintf("made-up-%d", n), n)
		one.Namespace = namespace
		return one
	}
	for i := range 6 {
		one := madeUp("shop", i)
		if kept := w.Subscribe(one); kept != (i < 4) {
			t.Errorf("trigger %d of shop is kept: %v", i, kept)
		}
		want := codes.NotFound
		if i >= 4 {
			want = codes.ResourceExhausted
		}
		if s := w.state(one); status.Code(s.Unreachable) != want || s.Unkept != (i >= 4) {
			t.Errorf("trigger %d of shop is %v", i, s.Unreachable)
		}
	}
	if len(w.subs) != 4 || len(w.services) != 4 {
		t.Errorf("%d triggers and %d types are kept", len(w.subs), len(w.services))
	}
	if again := madeUp("shop", 3); !w.Subscribe(again) {
		t.Error("one that is kept is refused when it changes")
	}

	// Namespaces together leave room for one that has little.
	for i := range 40 {
		w.Subscribe(madeUp(fmt.Sprintf("shop-%d", i%4), i))
	}
	if len(w.subs) > 14 {
		t.Errorf("%d triggers are kept of the 16 that all may have", len(w.subs))
	}
	w.Unsubscribe(madeUp("shop", 0).ID)
	w.Unsubscribe(madeUp("shop", 1).ID)
	for i := range 40 {
		for _, namespace := range []string{"shop", "shop-0", "shop-1", "shop-2", "shop-3"} {
			w.Unsubscribe(madeUp(namespace, i).ID)
		}
	}
	if len(w.places.of) != 0 || w.places.bytes != 0 || len(w.services) != 0 {
		t.Errorf("%v, %d and %d types are left", w.places.of, w.places.bytes, len(w.services))
	}
	if _, known := w.State(madeUp("shop", 5).ID); known {
		t.Error("what has room by now has a state all the same")
	}
}

// What a made-up type may have meant is searched for when somebody reads it: never
// while all others wait for the lock.
func TestMadeUpTypesCostNothingUnderTheLock(t *testing.T) {
	w := newWorld(t)
	w.service("kafka", newFamily(t, w.events))
	w.until("kafka exists", func() bool { return slices.Equal(w.Types(), []string{"kafka"}) })
	for _, triggerType := range []string{"kafak", "Kafka"} {
		one := trigger(triggerType, 0)
		w.Subscribe(one)
		problem := (*lateError)(nil)
		ok := errors.As(w.state(one).Unreachable, &problem)
		if !ok {
			t.Fatalf("the text of %v is made at once", w.state(one).Unreachable)
		}
		if w.Subscribe(one); !errors.Is(w.state(one).Unreachable, problem) {
			t.Error("it is made once more for the same type")
		}
		if status.Code(problem) != codes.InvalidArgument || !strings.Contains(problem.Error(), "did you mean kafka?") {
			t.Errorf("it says %v", problem)
		}
		w.Unsubscribe(one.ID)
	}
	w.deleteService("kafka")
	w.until("kafka is gone", func() bool { return len(w.Types()) == 0 })
}
