package plan

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Report is what came of replaying values through a spec, and through another.
type Report struct {
	// Object is what the values are of, as namespace/name.
	Object string `json:"object"`
	// Values says where they come from, and From to To of when they are.
	Values string    `json:"values"`
	Points int       `json:"points"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	// Model says what the values have to do with the replicas.
	Model string `json:"model"`
	// SyncPeriod is the HPA controller's, StartTime a Pod's, in seconds.
	SyncPeriod float64 `json:"syncPeriodSeconds"`
	StartTime  float64 `json:"startTimeSeconds"`
	// Notes are what a reader should know.
	Notes []string `json:"notes,omitempty"`
	// Before is today's spec, nil where there is none. After is the file's.
	Before *Outcome `json:"before,omitempty"`
	After  *Outcome `json:"after"`

	values []Point // of the first metric, for the picture
}

// Outcome is what came of one spec.
type Outcome struct {
	Name string `json:"name"`
	Figures
	// Start is the replicas at the beginning, Changes all of them.
	Start   int32    `json:"startReplicas"`
	Changes []Change `json:"changes"`
}

// The models.
const (
	openModel = "Open loop: the values are as they were recorded, and do not follow from the replicas of a replay"
	// closedModel is told with the rate.
	closedModel = "Closed loop: each ready replica takes %v a second away; what arrived follows from the values and the %s"
)

// Run replays a recording through both sides, of which before may be nil. names
// are the metrics that the object has in the cluster.
func Run(ctx context.Context, r *Recording, before, after *Side, names []string, o Options) (*Report, error) {
	sides := []*Side{after}
	if before != nil {
		sides = []*Side{before, after}
	}
	var wrong []error
	for _, s := range sides {
		wrong = append(wrong, s.bind(r, names))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	so := after.Object
	report := &Report{Object: so.Namespace + "/" + so.Name, Values: r.From, Points: r.Points(), Model: openModel,
		SyncPeriod: o.SyncPeriod.Seconds(), StartTime: o.StartTime.Seconds()}
	report.From, report.To = r.span()
	if before != nil {
		report.Notes = differences(before.Object, so)
	} else {
		report.Notes = []string{"there is no spec of today to compare with"}
	}
	arrivals, err := report.close(ctx, r, sides, o)
	if err != nil {
		return nil, err
	}
	for _, s := range sides {
		outcome, err := s.replay(ctx, r, o, arrivals)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		if s == after {
			report.After = outcome
		} else {
			report.Before = outcome
		}
	}
	for _, trigger := range after.metrics {
		if len(trigger) > 0 && report.values == nil {
			report.values = trigger[0].points
		}
	}
	return report, nil
}

// close has the values follow from the replicas, where a rate says how.
func (report *Report) close(ctx context.Context, r *Recording, sides []*Side, o Options) (func() *work, error) {
	if o.DrainRate == 0 {
		return func() *work { return nil }, nil
	}
	var wrong []error
	var metric *metric
	for _, s := range sides {
		m, err := drains(s)
		wrong = append(wrong, err)
		metric = m
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	replicas, source := stepsOf(r.Replicas), "replicas in the recording"
	if len(r.Replicas) == 0 {
		// Somebody drained what was recorded: at best, who would have by today's
		// spec.
		first, err := sides[0].replay(ctx, r, o, func() *work { return nil })
		if err != nil {
			return nil, err
		}
		replicas, source = first.at, "replicas that "+sides[0].Name+" comes to in the open loop, since none were recorded"
	}
	report.Model = fmt.Sprintf(closedModel, o.DrainRate, source)
	first, arrivals := arrivalsOf(metric.points, replicas, o.DrainRate)
	return func() *work {
		return &work{arrivals: arrivals, rate: o.DrainRate, left: first, most: first, since: report.From}
	}, nil
}

// stepsOf is what points are at a moment, 0 before the first.
func stepsOf(points []Point) func(time.Time) float64 {
	return func(at time.Time) float64 {
		i := sort.Search(len(points), func(i int) bool { return points[i].At.After(at) })
		if i == 0 || points[i-1].Outcome != scaling.Value {
			return 0
		}
		return points[i-1].Value
	}
}

// at is how many replicas there were at a moment.
func (o *Outcome) at(at time.Time) float64 {
	i := sort.Search(len(o.Changes), func(i int) bool { return o.Changes[i].At.After(at) })
	if i == 0 {
		return float64(o.Start)
	}
	return float64(o.Changes[i-1].To)
}

func (s *Side) replay(ctx context.Context, r *Recording, o Options, work func() *work) (*Outcome, error) {
	p, err := newReplay(s, r, o)
	if err != nil {
		return nil, err
	}
	p.work = work()
	start := p.replicas()
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	return &Outcome{Name: s.Name, Figures: p.figures.Figures, Start: start, Changes: p.figures.changes}, nil
}
