package scaling

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func TestExplainJobs(t *testing.T) {
	most := func(n int32) func(*v1alpha1.ScaledJobSpec) {
		return func(s *v1alpha1.ScaledJobSpec) { s.MaxReplicaCount = &n }
	}
	failing := Trigger{Index: 0, Outcome: Failed, Err: errors.New("dial"), Confirmed: t0, StaleAfter: time.Minute}
	for name, tt := range map[string]struct {
		in   JobsInput
		want string
	}{
		"work": {
			JobsInput{Object: jobObject(1, nil), Triggers: []Trigger{queueOf(0, 7, 2)}},
			"4 Jobs start, 0 ran: s0-queue 7 at 2 asks for 4; next: the controller, at the next reading",
		},
		"one Job": {
			JobsInput{Object: jobObject(1, nil), Triggers: []Trigger{queueOf(0, 1, 2)}},
			"1 Job starts, 0 ran: s0-queue 1 at 2 asks for 1; next: the controller, at the next reading",
		},
		"an empty queue": {
			JobsInput{Object: jobObject(1, nil), Triggers: []Trigger{queueOf(0, 0, 2)}},
			"no Job starts, 0 ran: s0-queue 0 at 2 asks for 0; next: the controller, at the next reading",
		},
		"no room": {
			JobsInput{Object: jobObject(1, most(3)), Triggers: []Trigger{queueOf(0, 20, 2)}, Jobs: jobsBefore(3, 0)},
			"no Job starts, 3 ran: s0-queue 20 at 2 asks for 10; limited by maxReplicaCount 3; next: the controller, when a Job ends",
		},
		"a failing trigger": {
			JobsInput{Object: jobObject(1, nil), Triggers: []Trigger{failing}},
			"no Job starts, 0 ran: trigger 0 (rabbitmq) error; limited by failing trigger; see condition Ready; next: the controller, at the next reading",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.in.Now = t0.Add(time.Second)
			d := DecideJobs(tt.in)
			e := ExplainJobs(tt.in, d)
			if have := e.String(); have != tt.want {
				t.Errorf("have %s\nwant %s", have, tt.want)
			}
			if e.Create != d.Create || *e.Jobs != d.Arithmetic || (e.NextAt == nil) != d.Next.IsZero() {
				t.Errorf("%+v of %+v", e, d)
			}
		})
	}
}

func TestAnExplanationSaysHowAReadingCameAbout(t *testing.T) {
	rang := reads(0, 42)
	rang.Noticed, rang.ReadAt = "doorbell", t0
	in := given(triggers(rang))
	if m := Explain(in, Decide(in)).Metrics; len(m) != 1 || m[0].Noticed != "doorbell" || !m[0].ReadAt.Equal(t0) {
		t.Errorf("%+v", m)
	}
	in = given(lastActive(time.Minute))
	if e := Explain(in, Decide(in)); e.RestAt == nil || !e.RestAt.Equal(cooldownEnd(in)) {
		t.Errorf("the cooldown ends at %v", e.RestAt)
	}
	in = given()
	if e := Explain(in, Decide(in)); e.RestAt != nil {
		t.Errorf("without a cooldown it ends at %v", e.RestAt)
	}
}
