package readings

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// object is one of generation 2, whose trigger came with generation 1.
type object struct{ problem error }

func (o object) TriggerProblem(int) error { return o.problem }
func (o object) GetGeneration() int64     { return 2 }

func known() *Known {
	all, _ := Follow(nil, []v1alpha1.ScaleTrigger{{Type: "kafka"}}, 1, now.Add(-time.Minute))
	return &all[0]
}

func answered(change ...func(*federation.State)) federation.State {
	s := federation.State{
		Generation: 2, Specs: []federation.MetricSpec{{Name: "lag", Target: 5}}, HaveSpecs: true,
		Outcome: scaling.Value, Values: []federation.Value{{Metric: "lag", Value: 7, Active: true}},
		ObservedAt: now.Add(-2 * time.Second), HeardAt: now.Add(-time.Second),
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// TestOutcomes has what a family said decided on for both kinds of object, of
// which one lets the rule for no data stand in for an answer.
func TestOutcomes(t *testing.T) {
	down := errors.New("down")
	tests := map[string]struct {
		state      federation.State
		unknown    bool
		problem    error
		waits      bool
		want, jobs scaling.Outcome
		err        error
		confirmed  time.Time
	}{
		"a value":            {state: answered(), want: scaling.Value, jobs: scaling.Value, confirmed: now.Add(-time.Second)},
		"nothing yet":        {state: answered(func(s *federation.State) { s.Outcome = scaling.Pending }), confirmed: now.Add(-time.Minute)},
		"no subscription":    {state: answered(), unknown: true, confirmed: now.Add(-time.Minute)},
		"an earlier trigger": {state: answered(func(s *federation.State) { s.Generation = 0 }), confirmed: now.Add(-time.Minute)},
		"a stand-in": {
			state: answered(func(s *federation.State) { s.Outcome = scaling.NoData }),
			want:  scaling.Value, jobs: scaling.NoData, confirmed: now.Add(-time.Second),
		},
		"no data": {
			state: answered(func(s *federation.State) { s.Outcome, s.Values = scaling.NoData, nil }),
			want:  scaling.NoData, jobs: scaling.NoData, confirmed: now.Add(-time.Second),
		},
		"an error": {
			state: answered(func(s *federation.State) { s.Outcome, s.Values, s.Err = scaling.Failed, nil, down }),
			want:  scaling.Failed, jobs: scaling.Failed, err: down, confirmed: now.Add(-time.Second),
		},
		"refused": {
			state: answered(func(s *federation.State) { s.Rejected = down }),
			want:  scaling.Failed, jobs: scaling.Failed, err: down, confirmed: now,
		},
		"nobody there": {
			state: answered(func(s *federation.State) { s.Unreachable = down }),
			want:  scaling.Failed, jobs: scaling.Failed, err: down, confirmed: now,
		},
		"wrong as it stands": {state: answered(), problem: down, want: scaling.Failed, jobs: scaling.Failed, err: down, confirmed: now},
		"not to be used yet": {state: answered(), waits: true, confirmed: now.Add(-time.Minute)},
		"of before and too old": {
			state:     answered(func(s *federation.State) { s.Earlier, s.HeardAt = true, now.Add(-time.Hour) }),
			confirmed: now.Add(-time.Minute),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for standIns, want := range map[bool]scaling.Outcome{true: tt.want, false: tt.jobs} {
				q := Question{Spec: v1alpha1.ScaleTrigger{Type: "kafka"}, Interval: 10 * time.Second, StandIns: standIns}
				if tt.waits {
					q.Waits = func(federation.State) bool { return true }
				}
				r, ahead := known().Read(object{tt.problem}, q, tt.state, !tt.unknown, now)
				if ahead || r.Outcome != want || !errors.Is(r.Err, tt.err) || !r.Confirmed.Equal(tt.confirmed) {
					t.Errorf("stand-ins %v: ahead %v, outcome %v (%v) as of %v, want %v as of %v", standIns, ahead, r.Outcome, r.Err, r.Confirmed, want, tt.confirmed)
				}
			}
		})
	}
}

func TestWhatIsAboutALaterSpecWaits(t *testing.T) {
	if _, ahead := known().Read(object{}, Question{}, answered(func(s *federation.State) { s.Generation = 3 }), true, now); !ahead {
		t.Error("a reading of generation 3 was taken for one of generation 2")
	}
}

// TestNamesStandIn has a family that cannot be asked: its metrics are those that
// the object's status has.
func TestNamesStandIn(t *testing.T) {
	named := Named([]string{"s0-lag", "s1-depth"}, 2)
	q := Question{Named: named[0]}
	r, _ := known().Read(object{}, q, federation.State{}, false, now)
	if got := r.Names(); !slices.Equal(got, []string{"s0-lag"}) {
		t.Errorf("metrics %v", got)
	}
}

// TestNamesInAStatusAreBounded has one that a tenant wrote: no trigger has more
// names than its family could have said.
func TestNamesInAStatusAreBounded(t *testing.T) {
	status := []string{"s1-a", "s1-a", "S1-A", "s2-none", "lag", "s0", "s-1-x", "", "composite-metric"}
	for i := range 10_000 {
		status = append(status, fmt.Sprint("s0-", i))
	}
	for i := range 50 {
		status = append(status, fmt.Sprint("s3-", i, strings.Repeat("x", 1000)))
	}
	named := Named(status, 4)
	if len(named) != 4 || len(named[0]) != 100 || !slices.Equal(named[1], []string{"s1-a", "S1-A"}) || len(named[2]) != 1 || len(named[3]) != 5 {
		t.Errorf("%d triggers, with %d, %q, %d and %d names", len(named), len(named[0]), named[1], len(named[2]), len(named[3]))
	}
}

func TestAReadingIsNewOnce(t *testing.T) {
	k := known()
	r, _ := k.Read(object{}, Question{}, answered(), true, now)
	all := []Known{*k}
	if at, fresh := Newest(all, []Reading{r}); !at.Equal(r.ObservedAt) || len(fresh) != 1 {
		t.Errorf("newest %v, %d fresh", at, len(fresh))
	}
	if at, fresh := Newest(all, []Reading{r}); !at.IsZero() || len(fresh) != 0 {
		t.Errorf("again: newest %v, %d fresh", at, len(fresh))
	}
}

func TestTraceOfTheReadingThatAsks(t *testing.T) {
	of := func(parent string, asks bool, at time.Duration) Reading {
		return Reading{
			Trigger:     scaling.Trigger{Metrics: []scaling.Metric{{Active: asks}}},
			Traceparent: parent, ObservedAt: now.Add(at),
		}
	}
	for want, all := range map[string][]Reading{
		"":       {of("", true, 0)},
		"newer":  {of("older", false, 0), of("newer", false, 1)},
		"asking": {of("asking", true, 0), of("newer", false, 1), of("", true, 2)},
	} {
		if got := Traceparent(all); got != want {
			t.Errorf("traced from %q, want %q", got, want)
		}
	}
}
