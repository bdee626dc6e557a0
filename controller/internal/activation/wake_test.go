package activation

import (
	"slices"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// ready has so many Pods of the target ready.
func (f *fixture) ready(count int32) {
	f.t.Helper()
	d := f.deployment()
	d.Status.ReadyReplicas = count
	if err := f.cluster.Direct.Status().Update(f.t.Context(), d); err != nil {
		f.t.Fatal(err)
	}
}

// TestColdStart: from the arrival of work to the first ready replica, each once.
func TestColdStart(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = new(int32) })
	m := &measured{}
	f.Figures = m
	f.says(42)
	f.state(func(s *federation.State) { s.SourceEventTime = start.Add(-3 * time.Second) })
	f.clock.Step(time.Second)
	f.decide()
	f.clock.Step(5 * time.Second)
	f.decide()
	if m.started != nil || len(f.ColdStarts()) != 0 {
		t.Fatalf("started after %v, %v, and nothing is ready", m.started, f.ColdStarts())
	}
	f.ready(2)
	f.decide()
	f.clock.Step(time.Second)
	f.ready(9)
	f.decide()
	if !slices.Equal(m.started, []time.Duration{9 * time.Second}) || !slices.Equal(m.wakes, []string{"4s true"}) {
		t.Errorf("started after %v, woke after %v", m.started, m.wakes)
	}
	record, _ := f.Account(key)
	want := ColdStart{Arrived: start.Add(-3 * time.Second), Told: true, Written: start.Add(time.Second), Ready: start.Add(6 * time.Second), Seconds: 9}
	if record.ColdStart == nil || *record.ColdStart != want {
		t.Errorf("told of %+v, want %+v", record.ColdStart, want)
	}
	if all := f.ColdStarts(); len(all) != 1 || all[0] != (account.ObjectColdStart{Namespace: key.Namespace, Name: key.Name, ColdStart: want}) {
		t.Errorf("told of %+v", all)
	}
}

// TestWhatIsNoColdStart: nobody could tell when the first replica was ready, or none
// was needed.
func TestWhatIsNoColdStart(t *testing.T) {
	for name, c := range map[string]struct {
		replicas int32
		object   func(*v1alpha1.ScaledObject)
		before   func(*fixture)
		after    func(*fixture)
		wakes    int
	}{
		"Pods of the time before are on their way out": {before: func(f *fixture) { f.ready(1) }, wakes: 1},
		"some were there, idle": {
			replicas: 1,
			object: func(so *v1alpha1.ScaledObject) {
				so.Spec.IdleReplicaCount, so.Spec.MinReplicaCount = new(int32(1)), new(int32(2))
			}, wakes: 1,
		},
		"somebody put it to rest before": {after: func(f *fixture) {
			f.scaleByHand(0)
			f.says(0)
			f.decide()
			f.scaleByHand(1)
		}, wakes: 1},
		"nothing woke": {replicas: 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.replicas, c.object)
			m := &measured{}
			f.Figures = m
			if c.before != nil {
				c.before(f)
			}
			f.says(42)
			f.decide()
			if c.after != nil {
				c.after(f)
			}
			f.ready(1)
			f.decide()
			if m.started != nil || len(m.wakes) != c.wakes {
				t.Errorf("started after %v, %v", m.started, m.wakes)
			}
		})
	}
}

// TestWakeOfASourceThatDoesNotTell counts from the reading, and says so.
func TestWakeOfASourceThatDoesNotTell(t *testing.T) {
	f := newFixture(t, 0, nil)
	m := &measured{}
	f.Figures = m
	f.says(42)
	f.clock.Step(2 * time.Second)
	f.decide()
	f.ready(1)
	f.decide()
	if !slices.Equal(m.wakes, []string{"2s false"}) || !slices.Equal(m.started, []time.Duration{2 * time.Second}) || m.woken != nil {
		t.Errorf("woke after %v, %v; started after %v", m.wakes, m.woken, m.started)
	}
	if record, _ := f.Account(key); record.ColdStart == nil || record.ColdStart.Told {
		t.Errorf("told of %+v", record.ColdStart)
	}
}
