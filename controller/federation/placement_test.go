package federation

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// stepClock is a clock that moves when told to, and rings when somebody begins
// to wait for it.
type stepClock struct {
	*clocktesting.FakeClock
	events *events
}

func (c stepClock) NewTimer(d time.Duration) clock.Timer {
	timer := c.FakeClock.NewTimer(d)
	c.events.happened()
	return timer
}

// newSteppedWorld has a clock of its own.
func newSteppedWorld(t *testing.T) (*world, *clocktesting.FakeClock) {
	now, e := clocktesting.NewFakeClock(time.Unix(1_000_000, 0)), newEvents()
	return newWorldWith(t, e, func(c *Config) { c.Clock = stepClock{now, e} }), now
}

// stepUntil lets time pass a step at a time until condition holds, and returns
// how many steps it took.
func (w *world) stepUntil(now *clocktesting.FakeClock, step time.Duration, what string, condition func() bool) int {
	w.t.Helper()
	steps := 0
	w.until(what, func() bool {
		if condition() {
			return true
		}
		if now.HasWaiters() {
			now.Step(step)
			steps++
		}
		return condition()
	})
	return steps
}

// subscribeMany subscribes n triggers with questions of their own and waits
// until all are observed.
func (w *world) subscribeMany(triggerType string, n int) []Trigger {
	w.t.Helper()
	triggers := make([]Trigger, n)
	for i := range triggers {
		triggers[i] = trigger(triggerType, i)
		w.Subscribe(triggers[i])
	}
	w.until("all are observed", func() bool { return w.allObserved(triggers, 7) })
	return triggers
}

func (w *world) allObserved(triggers []Trigger, value float64) bool {
	for _, one := range triggers {
		if !w.observed(one, value)() {
			return false
		}
	}
	return true
}

func TestQuestionsAreSpreadOverInstancesAndStay(t *testing.T) {
	w := newWorld(t)
	a, b := newFamily(t, w.events), newFamily(t, w.events)
	w.service("kafka", a, b)
	w.until("both are ready", func() bool {
		w.Subscribe(trigger("kafka", 0))
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.services["kafka"].ranked(0)) == 2
	})
	w.subscribeMany("kafka", 200)
	w.until("nothing moves any more", func() bool { return w.settled() && len(a.has())+len(b.has()) == 200 })
	atA, atB := len(a.has()), len(b.has())
	if atA+atB != 200 || atA < 60 || atB < 60 {
		t.Errorf("spread %d and %d", atA, atB)
	}
}

func TestEqualQuestionsMeetAtOneInstance(t *testing.T) {
	w := newWorld(t)
	a, b := newFamily(t, w.events), newFamily(t, w.events)
	w.service("kafka", a, b)
	w.until("both are ready", func() bool {
		w.Subscribe(trigger("kafka", 0))
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.services["kafka"].ranked(0)) == 2
	})
	w.Unsubscribe(trigger("kafka", 0).ID)
	w.until("nobody has it any more", func() bool { return len(a.has())+len(b.has()) == 0 })
	var triggers []Trigger
	for n := range 20 { // other objects, other targets, one queue
		one := trigger("kafka", n)
		one.Namespace = fmt.Sprintf("team-%d", n)
		one.Metadata = map[string]string{"queue": "orders", "length": fmt.Sprint(n)}
		w.Subscribe(one)
		triggers = append(triggers, one)
	}
	w.until("all are observed", func() bool { return w.allObserved(triggers, 7) })
	// What was on its way to the other one, before it was taken back or before the
	// family had said what its questions are, still leaves it.
	w.until("one has all, and the other none", func() bool {
		atA, atB := len(a.has()), len(b.has())
		return max(atA, atB) == len(triggers) && min(atA, atB) == 0
	})
}

func TestAnInstanceThatEndsLosesItsSubscriptionsToTheOther(t *testing.T) {
	tests := map[string]func(w *world, a, b *family){
		"killed":                    func(_ *world, a, _ *family) { a.kill() },
		"no longer an address":      func(w *world, _, b *family) { w.addresses("kafka", b) },
		"not serving by its health": func(_ *world, a, _ *family) { a.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING) },
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := newFamily(t, w.events), newFamily(t, w.events)
			w.service("kafka", a, b)
			triggers := w.subscribeMany("kafka", 50)
			w.until("both have some", func() bool { return len(a.has()) > 5 && len(b.has()) > 5 })
			end(w, a, b)
			w.until("the other has all", func() bool { return len(b.has()) == 50 })
			for _, one := range triggers {
				if s := w.state(one); s.Outcome != scaling.Value || s.Unreachable != nil {
					t.Fatalf("%s: %+v", one.ID, s)
				}
			}
		})
	}
}

func TestTheLastInstanceComesBack(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	triggers := w.subscribeMany("kafka", 10)
	address := f.address()
	f.kill()
	w.until("nobody is there", func() bool { return w.state(triggers[9]).Unreachable != nil })
	if s := w.state(triggers[9]); s.Outcome != scaling.Value || s.HeardAt.IsZero() {
		t.Errorf("the last observation is gone: %+v", s)
	}
	f.mu.Lock()
	f.value = 11
	f.mu.Unlock()
	f.serve(t, address)
	w.until("all are observed anew", func() bool { return w.allObserved(triggers, 11) })
	w.until("the instance counts as ready", func() bool { return w.state(triggers[0]).Unreachable == nil })
}

func TestMovesArePaced(t *testing.T) {
	const n = 60
	tests := map[string]struct {
		before func(w *world, a, b *family) // with all at a
		toMove func(a, b *family) (moved, all int)
	}{
		"to an instance that is new": {
			before: func(w *world, a, b *family) { w.addresses("kafka", a, b) },
			toMove: func(a, b *family) (int, int) { return len(b.has()), n - len(a.has()) },
		},
		"from an instance that drains": {
			before: func(w *world, a, b *family) {
				w.addresses("kafka", a, b)
				a.drain()
			},
			toMove: func(_, b *family) (int, int) { return len(b.has()), n },
		},
		"from an instance that terminates": {
			before: func(w *world, a, b *family) {
				w.addresses("kafka", a, b)
				going, no, yes := slice("kafka", "scaler-kafka-0", a.address()), false, true
				going.Endpoints[0].Conditions.Ready = &no
				going.Endpoints[0].Conditions.Serving = &yes
				going.Endpoints[0].Conditions.Terminating = &yes
				w.put(going)
			},
			toMove: func(_, b *family) (int, int) { return len(b.has()), n },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, now := newSteppedWorld(t)
			a, b := newFamily(t, w.events), newFamily(t, w.events)
			w.service("kafka", a)
			triggers := w.subscribeMany("kafka", n)
			began := now.Now()
			tt.before(w, a, b)
			w.stepUntil(now, movePeriod/4, "everything is where it belongs", func() bool {
				moved, all := tt.toMove(a, b)
				periods := int(now.Since(began)/movePeriod) + 1
				if moved > n/moveShare*periods {
					t.Fatalf("%d moved within %v", moved, now.Since(began))
				}
				// That an instance drains is heard some time after it was told to.
				return moved == all && w.settled()
			})
			w.until("the old instance is left", func() bool {
				moved, all := tt.toMove(a, b)
				return moved == all && moved > 0 && len(a.has())+len(b.has()) == n
			})
			if name == "to an instance that is new" && len(a.has()) == 0 {
				t.Error("everything moved")
			}
			for _, one := range triggers {
				if s := w.state(one); s.Outcome != scaling.Value || s.Unreachable != nil {
					t.Fatalf("%s: %+v", one.ID, s)
				}
			}
		})
	}
}

// settled reports whether two instances are known and every subscription is
// where it belongs.
func (w *world) settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.services["kafka"]
	if len(s.ranked(0)) < 2 {
		return false
	}
	for _, sub := range s.subs {
		if sub.next != nil || sub.misplaced() {
			return false
		}
	}
	return true
}

func TestAMoveKeepsTheOldInstanceUntilTheNewOneAnswers(t *testing.T) {
	w := newWorld(t)
	a := newFamily(t, w.events)
	b := newFamily(t, w.events, func(f *family) { f.quiet = true })
	w.service("kafka", a)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.until("it is observed", w.observed(orders, 7))
	w.addresses("kafka", a, b)
	a.drain()
	w.until("the new one has it, too", func() bool { return len(b.has()) == 1 && len(a.has()) == 1 })

	a.push(observation(orders.String(), 1, 8))
	w.until("the old one still counts", w.observed(orders, 8))
	b.push(observation(orders.String(), 1, 9))
	w.until("the new one took over", w.observed(orders, 9))
	w.until("the old one is left", func() bool { return len(a.has()) == 0 })
}

func TestAnInstanceThatIsCutOffIsLeft(t *testing.T) {
	w, now := newSteppedWorld(t)
	a, b := newFamily(t, w.events), newFamily(t, w.events)
	cable := newCable(t, a.address())
	w.service("kafka", b)
	w.put(slice("kafka", "scaler-kafka-cut", cable.address()))
	triggers := w.subscribeMany("kafka", 20)
	w.stepUntil(now, movePeriod, "both have some", func() bool { return w.settled() && len(a.has()) > 2 && len(b.has()) > 2 })
	cable.cut.Store(true)
	w.stepUntil(now, silenceCheck, "the other has all", func() bool {
		for _, one := range triggers {
			b.push(observation(one.String(), 1, 7)) // it beats
		}
		return len(b.has()) == 20
	})
	for _, one := range triggers {
		if s := w.state(one); s.Outcome != scaling.Value {
			t.Fatalf("%s: %+v", one.ID, s)
		}
	}
	cable.cut.Store(false)
}

// cable carries connections to a server until it is cut: from then on it
// swallows everything, in both directions, and closes nothing.
type cable struct {
	listener net.Listener
	cut      atomic.Bool
	mu       sync.Mutex
	open     []net.Conn
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			var dialer net.Dialer
			far, err := dialer.DialContext(t.Context(), "tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			c.mu.Lock()
			c.open = append(c.open, near, far)
			c.mu.Unlock()
			running.Go(func() { c.carry(near, far) })
			running.Go(func() { c.carry(far, near) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.mu.Lock()
		for _, one := range c.open {
			one.Close()
		}
		c.mu.Unlock()
		running.Wait()
	})
	return c
}

func (c *cable) address() string { return c.listener.Addr().String() }

func (c *cable) carry(from, to net.Conn) {
	defer to.Close()
	_, _ = io.Copy(cutWriter{c, to}, from)
}

type cutWriter struct {
	cable *cable
	to    net.Conn
}

func (w cutWriter) Write(p []byte) (int, error) {
	if w.cable.cut.Load() {
		return len(p), nil
	}
	return w.to.Write(p)
}

func TestASilentFamilyDelaysNobodyElse(t *testing.T) {
	w := newWorld(t)
	stuck := newFamily(t, w.events)
	cable := newCable(t, stuck.address())
	w.put(plainService("redis"))
	w.put(slice("redis", "scaler-redis-0", cable.address()))
	f := newFamily(t, w.events)
	w.service("kafka", f)
	first := trigger("redis", 1000)
	w.Subscribe(first)
	w.until("it is observed", w.observed(first, 7))
	cable.cut.Store(true)
	for n := range 500 { // more than any buffer takes
		one := trigger("redis", 2000+n)
		one.Metadata = map[string]string{"queue": string(make([]byte, 16<<10))}
		w.Subscribe(one)
	}
	w.subscribeMany("kafka", 100)
}

func TestAThousandSubscriptions(t *testing.T) {
	w := newWorld(t)
	a, b := newFamily(t, w.events), newFamily(t, w.events)
	w.service("kafka", a, b)
	triggers := make([]Trigger, 1000)
	for n := range triggers {
		triggers[n] = trigger("kafka", n)
		w.Subscribe(triggers[n])
	}
	last := 0 // looked at in order, so that an event costs one look
	w.until("all are observed", func() bool {
		for last < len(triggers) && w.observed(triggers[last], 7)() {
			last++
		}
		return last == len(triggers)
	})
	for _, one := range triggers {
		w.Unsubscribe(one.ID)
	}
	w.until("all are forgotten", func() bool { return len(a.has())+len(b.has()) == 0 })
}

func TestAFamilyThatDoesNotWatchIsSaid(t *testing.T) {
	w := newWorld(t)
	c := newClassic(t, w.events)
	c.description = &scalerv1.DescribeResponse{Family: "half"}
	w.put(plainService("kafka"))
	w.put(slice("kafka", "scaler-kafka-0", c.address()))
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.until("it is said", func() bool { return status.Code(w.state(orders).Rejected) == codes.Unimplemented })
}
