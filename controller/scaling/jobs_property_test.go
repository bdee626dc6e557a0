package scaling

import (
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"pgregory.net/rapid"
)

// jobWorld is a queue, Jobs that each take one item off it, and a controller
// that reads the queue now and then, decides at any moment, and forgets what it
// knew whenever it is restarted.
type jobWorld struct {
	object *v1alpha1.ScaledJob
	now    time.Time
	items  int // arrived and not done

	jobs    []Job // as the controller knows them
	taken   []bool
	reading Trigger

	arrived, done, failed, created int
}

func newJobWorld(t *rapid.T) *jobWorld {
	strategy := rapid.SampledFrom([]v1alpha1.JobStrategy{"default", "accurate"}).Draw(t, "strategy")
	most := rapid.Int32Range(1, 8).Draw(t, "max")
	return &jobWorld{now: t0, object: jobObject(1, func(s *v1alpha1.ScaledJobSpec) {
		s.ScalingStrategy.Strategy, s.MaxReplicaCount = strategy, &most
	})}
}

func (w *jobWorld) pass(d time.Duration) { w.now = w.now.Add(d) }

// visible is the length of the queue: with strategy accurate what is worked on
// is locked, else it stays until it is done.
func (w *jobWorld) visible() int {
	n := w.items
	if w.object.CountsPending() {
		for i, taken := range w.taken {
			if taken && w.jobs[i].Finished.IsZero() {
				n--
			}
		}
	}
	return n
}

func (w *jobWorld) read() {
	w.reading = queueOf(0, float64(w.visible()), 1)
	w.reading.ReadAt = w.now
	w.pass(time.Millisecond)
}

func (w *jobWorld) decide(t *rapid.T) {
	trigger := w.reading
	trigger.Confirmed = w.now // the family is well, it only reads seldom
	in := JobsInput{Object: w.object, Now: w.now, Jobs: w.jobs}
	if !trigger.ReadAt.IsZero() {
		in.Triggers = []Trigger{trigger}
	}
	d := DecideJobs(in)
	if again := DecideJobs(in); again.Create != d.Create {
		t.Fatalf("the same input gives %d and %d", d.Create, again.Create)
	}
	w.pass(time.Millisecond)
	for range d.Create {
		w.jobs, w.taken = append(w.jobs, Job{Created: w.now}), append(w.taken, false)
		w.created++
	}
	w.pass(time.Millisecond)
	running := 0
	for _, j := range w.jobs {
		if j.Finished.IsZero() {
			running++
		}
	}
	if running > int(w.object.MaxJobs()) {
		t.Fatalf("%d Jobs run at once, %d may", running, w.object.MaxJobs())
	}
	if w.created > w.arrived+w.failed {
		t.Fatalf("%d Jobs for %d items and %d failures", w.created, w.arrived, w.failed)
	}
}

// start lets a pending Job take its item.
func (w *jobWorld) start(i int) {
	if !w.jobs[i].Finished.IsZero() || w.taken[i] {
		return
	}
	w.taken[i], w.jobs[i].Started = true, w.now
	w.pass(time.Millisecond)
}

// end finishes a running Job. One that fails leaves its item in the queue.
func (w *jobWorld) end(i int, fails bool) {
	if !w.taken[i] || !w.jobs[i].Finished.IsZero() {
		return
	}
	w.jobs[i].Finished = w.now
	if fails {
		w.failed++
	} else {
		w.items--
		w.done++
	}
	w.pass(time.Millisecond)
}

// restart leaves of the Jobs what the API server keeps: whole seconds, taken
// for as late as they may be, and no word of when they started.
func (w *jobWorld) restart() {
	late := func(at time.Time) time.Time { return at.Truncate(time.Second).Add(time.Second) }
	for i, j := range w.jobs {
		w.jobs[i].Created = late(j.Created)
		if w.taken[i] {
			w.jobs[i].Started = w.now
		}
		if !j.Finished.IsZero() {
			w.jobs[i].Finished = late(j.Finished)
		}
	}
}

func TestNoWorkGetsTwoJobsAndNoneStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newJobWorld(t)
		pick := func() int { return rapid.IntRange(0, len(w.jobs)-1).Draw(t, "job") }
		for range rapid.IntRange(5, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"arrive", "read", "decide", "decide", "start", "start", "end", "end", "fail", "restart", "wait"}).Draw(t, "step") {
			case "arrive":
				n := rapid.IntRange(1, 12).Draw(t, "items")
				w.items, w.arrived = w.items+n, w.arrived+n
			case "read":
				w.read()
			case "decide":
				w.decide(t)
			case "start":
				if len(w.jobs) > 0 {
					w.start(pick())
				}
			case "end":
				if len(w.jobs) > 0 {
					w.end(pick(), false)
				}
			case "fail":
				if len(w.jobs) > 0 {
					w.end(pick(), true)
				}
			case "restart":
				w.restart()
			case "wait":
				w.pass(700 * time.Millisecond)
			}
		}
		w.settle(t)
	})
}

// settle lets everything take its course: everything that ever arrived is done.
func (w *jobWorld) settle(t *rapid.T) {
	for range w.items + 3 {
		w.pass(2 * time.Second) // past what a restart made later
		w.read()
		w.pass(time.Millisecond)
		w.decide(t)
		for i := range w.jobs {
			w.start(i)
		}
		for i := range w.jobs {
			w.end(i, false)
		}
	}
	if w.done != w.arrived {
		t.Fatalf("%d of %d items are done", w.done, w.arrived)
	}
}

// A reading is used up without another: places that become free are filled.
func TestOneReadingIsEnoughForAllItCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newJobWorld(t)
		w.arrived = rapid.IntRange(1, 60).Draw(t, "items")
		w.items = w.arrived
		w.read()
		for range w.arrived {
			w.decide(t)
			for i := range w.jobs {
				w.start(i)
			}
			w.decide(t)
			for i := range w.jobs {
				w.end(i, false)
			}
		}
		if w.created != w.arrived {
			t.Fatalf("%d Jobs for the %d items of one reading", w.created, w.arrived)
		}
	})
}
