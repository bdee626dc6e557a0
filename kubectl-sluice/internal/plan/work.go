package plan

import (
	"fmt"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// work is what arrives and is done where replicas drain what they are scaled by.
type work struct {
	arrivals []arrival
	at       int
	rate     float64 // of a ready replica, in a second

	left, most float64
	since      time.Time // when there was work last that was not there before
	drained    time.Duration
}

// arrival is how much comes in a second, from a moment on.
type arrival struct {
	at        time.Time
	perSecond float64
}

// arrivalsOf is what came while replicas drained what was recorded. While something
// was left, all of them worked; where nothing was, they may have waited, and what
// came is at least nothing.
func arrivalsOf(points []Point, replicas func(time.Time) float64, rate float64) (first float64, all []arrival) {
	var last *Point
	for i := range points {
		now := points[i]
		if now.Outcome != scaling.Value {
			continue
		}
		if last == nil {
			first = max(now.Value, 0)
		} else {
			took := now.At.Sub(last.At).Seconds()
			came := now.Value - last.Value
			if now.Value > 0 {
				came += rate * replicas(last.At) * took
			}
			all = append(all, arrival{last.At, max(came, 0) / took})
		}
		last = &points[i]
	}
	if last != nil {
		all = append(all, arrival{last.At, 0})
	}
	return first, all
}

// step is the longest time in which work is taken to come and go evenly.
const step = time.Second

// pass has work come and be done from a moment to another.
func (w *work) pass(from, to time.Time, ready int32) {
	for from.Before(to) {
		until := from.Add(step)
		if to.Before(until) {
			until = to
		}
		for w.at+1 < len(w.arrivals) && !w.arrivals[w.at+1].at.After(from) {
			w.at++
		}
		if next := w.at + 1; next < len(w.arrivals) && w.arrivals[next].at.Before(until) {
			until = w.arrivals[next].at
		}
		seconds := until.Sub(from).Seconds()
		var comes float64
		if len(w.arrivals) > 0 && !from.Before(w.arrivals[w.at].at) {
			comes = w.arrivals[w.at].perSecond * seconds
		}
		before := w.left
		w.left = max(w.left+comes-w.rate*float64(ready)*seconds, 0)
		w.most = max(w.most, w.left)
		switch {
		case before == 0 && w.left > 0:
			w.since = from
		case before > 0 && w.left == 0:
			w.drained = max(w.drained, until.Sub(w.since))
		}
		from = until
	}
}

// drains returns what a recording's only metric has to do with its replicas.
func drains(s *Side) (*metric, error) {
	var only *metric
	for i := range s.metrics {
		for n := range s.metrics[i] {
			if only != nil {
				return nil, fmt.Errorf("%s: --drain-rate is of one metric, and the object has several: nobody knows which of them a replica takes away", s.Name)
			}
			only = &s.metrics[i][n]
		}
	}
	if s.Object.Modifiers() != nil {
		return nil, fmt.Errorf("%s: --drain-rate is of a metric, and scalingModifiers scales by a formula", s.Name)
	}
	return only, nil
}
