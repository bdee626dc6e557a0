package scaling

import (
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func TestExplain(t *testing.T) {
	formula := func(in *Input) {
		modifiers("lag * 2", "5")(in)
		in.Formula, _ = CompileFormula("lag * 2", []string{"lag"})
	}
	tests := map[string]struct {
		in   Input
		want string
	}{
		"a rise from zero": {
			given(replicas(0), triggers(reads(0, 42))),
			"0 to 5 replicas: s0-m 42 at 10 asks for 5; next: the HPA, at its next sync",
		},
		"limited by the maximum": {
			given(replicas(0), bounds(0, 3), triggers(reads(0, 42))),
			"0 to 3 replicas: s0-m 42 at 10 asks for 5; maxReplicaCount is 3; next: the HPA, at its next sync",
		},
		"at work": {
			given(triggers(reads(0, 42))),
			"3 replicas stay: s0-m 42 at 10 asks for 5; next: the HPA, at its next sync",
		},
		"cooling down": {
			given(lastActive(time.Minute)),
			"3 replicas stay: s0-m 0 at 10 asks for 0; the cooldown lasts until 2030-01-02T03:08:05Z; next: the controller, when the triggers stay inactive",
		},
		"to rest": {
			given(),
			"3 to 0 replicas: s0-m 0 at 10 asks for 0; next: the controller, when a trigger turns active",
		},
		"at rest": {
			given(replicas(0)),
			"0 replicas stay: s0-m 0 at 10 asks for 0; next: the controller, when a trigger turns active",
		},
		"a failing trigger": {
			given(triggers(fails(0, 0))),
			"3 replicas stay: s0-m error; next: the controller, when the triggers stay inactive",
		},
		"in fallback": {
			given(replicas(0), withFallback(3, 6, v1alpha1.FallbackStatic), triggers(fails(0, 3))),
			"0 to 1 replicas: s0-m in fallback; next: the HPA, at its next sync",
		},
		"nothing heard": {
			given(func(in *Input) { in.Triggers = nil }),
			"3 replicas stay: trigger 0 (kafka) pending; next: the controller, when the triggers stay inactive",
		},
		"a formula": {
			given(replicas(0), formula, func(in *Input) { in.Triggers[0] = reads(0, 42) }),
			"0 to 1 replicas: s0-m 42 at 10, formula 84; next: the HPA, at its next sync",
		},
		"scaling out is paused": {
			given(replicas(0), annotated(v1alpha1.AnnotationPausedScaleOut, "true"), triggers(reads(0, 42))),
			"0 replicas stay: s0-m 42 at 10 asks for 5; scaling out is paused; next: the controller, when a trigger turns active",
		},
		"paused": {
			given(annotated(v1alpha1.AnnotationPaused, "true")),
			"3 replicas stay; scaling is paused; next: the user, by removing the annotation",
		},
		"replicas unknown": {
			given(func(in *Input) { in.Replicas = nil }),
			"replicas unknown: s0-m 0 at 10 asks for 0; current replicas are unknown; next: the controller, once the replicas can be read",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(tt.in)
			e := Explain(tt.in, d)
			if have := e.String(); have != tt.want {
				t.Errorf("have %s\nwant %s", have, tt.want)
			}
			if (e.NextAt == nil) != d.Next.IsZero() {
				t.Errorf("next at %v, decided %v", e.NextAt, d.Next)
			}
		})
	}
}
