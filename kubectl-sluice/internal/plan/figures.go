package plan

import (
	"time"
)

// Who changed the replicas.
const (
	byController = "controller"
	byHPA        = "hpa"
)

// Change is one of the replicas.
type Change struct {
	At   time.Time `json:"at"`
	From int32     `json:"from"`
	To   int32     `json:"to"`
	// By is controller or hpa, Why how it came to the number.
	By  string `json:"by"`
	Why string `json:"why"`
}

// Figures are what came of a replay. Times are in seconds.
type Figures struct {
	MaxReplicas  int32   `json:"maxReplicas"`
	MeanReplicas float64 `json:"meanReplicas"`
	// PodHours are those of all replicas, ready or not.
	PodHours   float64 `json:"podHours"`
	ScaleUps   int     `json:"scaleUps"`
	ScaleDowns int     `json:"scaleDowns"`
	// Flaps are changes within ten minutes of one in the other direction.
	Flaps int `json:"flaps"`
	// AtMax is how long the replicas were at maxReplicaCount.
	AtMax float64 `json:"secondsAtMax"`
	// LongestWait is the longest time in which there was work and no ready
	// replica; Waiting is set where that is still so at the end.
	LongestWait float64 `json:"longestWaitSeconds"`
	Waiting     bool    `json:"stillWaiting,omitempty"`
	// Drain is what became of the work, where replicas drain it.
	Drain *Drain `json:"drain,omitempty"`
}

// Drain is what became of work that replicas take away.
type Drain struct {
	// Longest is the longest time from the first piece of work to none.
	Longest float64 `json:"longestSeconds"`
	// Most is the most there was, Left what there is at the end.
	Most float64 `json:"most"`
	Left float64 `json:"left"`
}

// flapWithin is how soon a change is undone that should not have been.
const flapWithin = 10 * time.Minute

// mostChanges are kept; figures count all.
const mostChanges = 10_000

// figures is what is counted during a replay.
type figures struct {
	Figures
	changes []Change

	start    time.Time
	replicas float64 // seconds of one replica
	last     Change
	waiting  time.Time // since when, zero for nobody
}

func (f *figures) begin(at time.Time, replicas int32) { f.start, f.MaxReplicas = at, replicas }

// pass counts a time without changes.
func (f *figures) pass(took time.Duration, replicas, most int32) {
	f.replicas += took.Seconds() * float64(replicas)
	if replicas > 0 && replicas >= most {
		f.AtMax += took.Seconds()
	}
}

func (f *figures) change(at time.Time, from, to int32, by, why string) {
	f.MaxReplicas = max(f.MaxReplicas, to)
	up := to > from
	if up {
		f.ScaleUps++
	} else {
		f.ScaleDowns++
	}
	if !f.last.At.IsZero() && (f.last.To > f.last.From) != up && at.Sub(f.last.At) <= flapWithin {
		f.Flaps++
	}
	f.last = Change{at, from, to, by, why}
	if len(f.changes) < mostChanges {
		f.changes = append(f.changes, f.last)
	}
}

// look finds out who waits.
func (f *figures) look(at time.Time, work bool, ready int32) {
	switch {
	case ready > 0 || !work:
		f.waited(at)
		f.waiting = time.Time{}
	case f.waiting.IsZero():
		f.waiting = at
	}
}

func (f *figures) waited(at time.Time) {
	if !f.waiting.IsZero() {
		f.LongestWait = max(f.LongestWait, at.Sub(f.waiting).Seconds())
	}
}

func (f *figures) finish(at time.Time, w *work) {
	f.waited(at)
	f.Waiting = !f.waiting.IsZero()
	f.PodHours = f.replicas / time.Hour.Seconds()
	f.MeanReplicas = f.replicas / at.Sub(f.start).Seconds()
	if w != nil {
		f.Drain = &Drain{Longest: w.drained.Seconds(), Most: w.most, Left: w.left}
		if w.left > 0 {
			f.Drain.Longest = max(f.Drain.Longest, at.Sub(w.since).Seconds())
		}
	}
}
