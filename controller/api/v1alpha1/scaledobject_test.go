package v1alpha1

import (
	"math"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

// valid is a ScaledObject with nothing but what is required.
func valid(change ...func(*ScaledObject)) *ScaledObject {
	so := &ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Name: "orders", Annotations: map[string]string{}},
		Spec: ScaledObjectSpec{
			ScaleTargetRef: ScaleTarget{Name: "orders"},
			Triggers:       []ScaleTrigger{{Type: "kafka"}},
		},
	}
	for _, c := range change {
		c(so)
	}
	return so
}

func TestDefaults(t *testing.T) {
	so := valid()
	check := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s = %v, want %v", what, got, want)
		}
	}
	check("polling interval", so.PollingInterval(), 30*time.Second)
	check("cooldown", so.CooldownPeriod(), 300*time.Second)
	check("initial cooldown", so.InitialCooldownPeriod(), time.Duration(0))
	check("min", so.MinReplicas(), int32(0))
	check("max", so.MaxReplicas(), int32(100))
	check("HPA min", so.HPAMinReplicas(), int32(1))
	check("HPA name", so.HPAName(), "keda-hpa-orders")
	check("target apiVersion", so.Spec.ScaleTargetRef.TargetAPIVersion(), "apps/v1")
	check("target kind", so.Spec.ScaleTargetRef.TargetKind(), "Deployment")
	check("target type", so.Spec.Triggers[0].TargetType(), autoscalingv2.AverageValueMetricType)
	check("fallback", so.Fallback(), (*Fallback)(nil))
	check("modifiers", so.Modifiers(), (*ScalingModifiers)(nil))
	check("paused", so.Paused(), false)
}

// TestTypeOfDatadog: what the metadata said before there was metricType holds where
// there is none, for this type alone.
func TestTypeOfDatadog(t *testing.T) {
	for want, triggers := range map[autoscalingv2.MetricTargetType][]ScaleTrigger{
		autoscalingv2.ValueMetricType: {
			{Type: "datadog", Metadata: map[string]string{"type": "global"}}, {Type: "datadog", Metadata: map[string]string{"type": " Global "}},
			{Type: "datadog", MetricType: autoscalingv2.ValueMetricType},
		},
		autoscalingv2.AverageValueMetricType: {
			{Type: "datadog"}, {Type: "datadog", Metadata: map[string]string{"type": "average"}}, {Type: "datadog", Metadata: map[string]string{"type": "sum"}},
			{Type: "datadog", MetricType: autoscalingv2.AverageValueMetricType, Metadata: map[string]string{"type": "global"}},
			{Type: "kafka", Metadata: map[string]string{"type": "global"}},
		},
	} {
		for _, trigger := range triggers {
			if got := trigger.TargetType(); got != want {
				t.Errorf("%+v: %s, want %s", trigger, got, want)
			}
		}
	}
}

func TestExplicitZerosAreKept(t *testing.T) {
	so := valid(func(so *ScaledObject) {
		so.Spec.CooldownPeriod = ptr(int32(0))
		so.Spec.Fallbacks = []FailureFallback{{FailureThreshold: ptr(int32(0)), Replicas: 5}}
	})
	if so.CooldownPeriod() != 0 {
		t.Errorf("cooldown = %v", so.CooldownPeriod())
	}
	if f := so.Fallback(); *f != (Fallback{Replicas: 5, Behavior: FallbackStatic}) {
		t.Errorf("fallback = %+v", f)
	}
}

func TestFallbackSpellings(t *testing.T) {
	plural := []FailureFallback{{FailureType: "all", Replicas: 5}}
	tests := map[string]struct {
		spec ScaledObjectSpec
		want Fallback
	}{
		"fallbacks tolerates three failures": {
			spec: ScaledObjectSpec{Fallbacks: plural},
			want: Fallback{FailureThreshold: 3, Replicas: 5, Behavior: FallbackStatic},
		},
		"fallback wins": {
			spec: ScaledObjectSpec{Fallbacks: plural, Fallback: &Fallback{FailureThreshold: 1, Replicas: 2, Behavior: FallbackCurrentReplicas}},
			want: Fallback{FailureThreshold: 1, Replicas: 2, Behavior: FallbackCurrentReplicas},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := ScaledObject{Spec: tt.spec}
			if got := so.Fallback(); *got != tt.want {
				t.Errorf("fallback = %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestPauseAnnotations(t *testing.T) {
	tests := map[string]struct {
		annotations map[string]string
		want        bool
	}{
		"absent":                       {nil, false},
		"false":                        {map[string]string{AnnotationPaused: "false"}, false},
		"F":                            {map[string]string{AnnotationPaused: "F"}, false},
		"true":                         {map[string]string{AnnotationPaused: "true"}, true},
		"unparsable counts as true":    {map[string]string{AnnotationPaused: "no"}, true},
		"empty counts as true":         {map[string]string{AnnotationPaused: ""}, true},
		"count pauses by presence":     {map[string]string{AnnotationPausedReplicas: "0"}, true},
		"count wins over paused false": {map[string]string{AnnotationPaused: "false", AnnotationPausedReplicas: "3"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := valid()
			so.Annotations = tt.annotations
			if got := so.Paused(); got != tt.want {
				t.Errorf("Paused = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPausedReplicasAreACount(t *testing.T) {
	for text, want := range map[string]int32{"0": 0, "12": 12, "2147483647": math.MaxInt32, "-1": -1, "2147483648": -1, "1.5": -1, "0x1": -1, " 1": -1, "": -1} {
		so := valid()
		so.Annotations = map[string]string{AnnotationPausedReplicas: text}
		count, err := so.PausedReplicas()
		if got := orElse(count, -1); got != want || (err != nil) != (want < 0) {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestOwnershipIsTransferredByExactlyTrue(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "True": false, "1": false, "": false, "false": false} {
		so := valid()
		so.Annotations = map[string]string{AnnotationTransferHPAOwnership: text}
		if got := so.TransfersHPAOwnership(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestAnnotationProblemsNameTheAnnotation(t *testing.T) {
	so := valid()
	so.Annotations = map[string]string{
		AnnotationPausedReplicas:      "three",
		AnnotationDoorbell:            "loud",
		AnnotationIdlePollingInterval: "5",
		AnnotationNoData:              "guess",
		AnnotationActivation:          "all",
		AnnotationWakeObjective:       "soon",
		AnnotationHPANudge:            "never",
	}
	_, replicas := so.PausedReplicas()
	_, doorbell := so.Doorbell()
	interval, idle := so.IdlePollingInterval()
	_, noData := so.NoData()
	_, activation := so.ActivatesByOne()
	_, objective := so.WakeObjective()
	_, nudge := so.NudgesHPA()
	want := map[string]error{
		`annotation autoscaling.keda.sh/paused-replicas: "three" is not a replica count`:                   replicas,
		`annotation sluice.dev/doorbell: "loud" is neither on nor off`:                                     doorbell,
		`annotation sluice.dev/idle-polling-interval: "5" is not a duration of at least 100ms, such as 2s`: idle,
		`annotation sluice.dev/no-data: "guess" is none of hold, error, zero`:                              noData,
		`annotation sluice.dev/wake-objective: "soon" is not a duration above 0, such as 2s`:               objective,
		`annotation sluice.dev/activation: "all" is not one`:                                               activation,
		`annotation sluice.dev/hpa-nudge: "never" is neither on nor off`:                                   nudge,
	}
	if n := len(so.AnnotationProblems()); n != 6 {
		t.Errorf("%d annotations that do without", n)
	}
	for text, err := range want {
		if err == nil || err.Error() != text {
			t.Errorf("got %v\nwant %s", err, text)
		}
	}
	if interval != so.PollingInterval() {
		t.Errorf("a bad interval must leave the polling interval, got %v", interval)
	}
}

func TestValidate(t *testing.T) {
	modifiers := func(m ScalingModifiers) func(*ScaledObject) {
		return func(so *ScaledObject) { so.Spec.Advanced = &AdvancedConfig{ScalingModifiers: &m} }
	}
	bounds := func(idle, lo, hi *int32) func(*ScaledObject) {
		return func(so *ScaledObject) {
			so.Spec.IdleReplicaCount, so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = idle, lo, hi
		}
	}
	triggers := func(ts ...ScaleTrigger) func(*ScaledObject) {
		return func(so *ScaledObject) { so.Spec.Triggers = ts }
	}
	i := func(n int32) *int32 { return &n }
	tests := map[string]struct {
		change func(*ScaledObject)
		want   string // joined by "; "
	}{
		"least that is required":       {func(*ScaledObject) {}, ""},
		"min above max":                {bounds(nil, i(5), i(3)), "minReplicaCount: 5 exceeds maxReplicaCount 3"},
		"min above default max":        {bounds(nil, i(101), nil), "minReplicaCount: 101 exceeds maxReplicaCount 100"},
		"idle 0 with min 0":            {bounds(i(0), i(0), nil), ""},
		"idle 0 without min":           {bounds(i(0), nil, nil), "idleReplicaCount: 0 is not lower than minReplicaCount 0"},
		"idle below min":               {bounds(i(0), i(2), nil), ""},
		"idle at min":                  {bounds(i(2), i(2), nil), "idleReplicaCount: 2 is not lower than minReplicaCount 2"},
		"no trigger":                   {triggers(), "triggers: none given"},
		"fractional composite target":  {modifiers(ScalingModifiers{Formula: "a", Target: "2.5"}), ""},
		"modifiers without formula":    {modifiers(ScalingModifiers{Target: "1"}), "scalingModifiers.formula: missing"},
		"modifiers without target":     {modifiers(ScalingModifiers{Formula: "a"}), "scalingModifiers.target: missing"},
		"infinite composite target":    {modifiers(ScalingModifiers{Formula: "a", Target: "Inf"}), `scalingModifiers.target: "Inf" is not a number greater than 0`},
		"unparsable activation target": {modifiers(ScalingModifiers{Formula: "a", Target: "1", ActivationTarget: "x"}), `scalingModifiers.activationTarget: "x" is not a number`},
		"fallback by absent formula": {
			func(so *ScaledObject) { so.Spec.Fallback = &Fallback{Behavior: FallbackScalingModifiers} },
			"fallback.behavior: scalingModifiers needs advanced.scalingModifiers.formula",
		},
		"fallback of cpu alone": {
			func(so *ScaledObject) {
				so.Spec.Triggers = []ScaleTrigger{{Type: "cpu", MetricType: "Utilization"}}
				so.Spec.Fallback = &Fallback{Replicas: 1}
			},
			"fallback: needs a trigger other than cpu and memory",
		},
		"all problems at once": {
			func(so *ScaledObject) {
				so.Spec.ScaleTargetRef.Name = ""
				so.Spec.Triggers = nil
				so.Spec.MinReplicaCount = i(101)
			},
			"scaleTargetRef.name: missing; minReplicaCount: 101 exceeds maxReplicaCount 100; triggers: none given",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := valid(tt.change).Validate(); err != nil {
				got = strings.ReplaceAll(err.Error(), "\n", "; ")
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestWhatIsWrongWithOneTriggerIsItsOwn holds it apart from what is wrong with
// the object, which keeps everything from being done.
func TestWhatIsWrongWithOneTriggerIsItsOwn(t *testing.T) {
	tests := map[string]struct {
		triggers []ScaleTrigger
		want     string // of the last one
	}{
		"cached cron":            {[]ScaleTrigger{{Type: "cron", UseCachedMetrics: true}}, "trigger 0 (cron): useCachedMetrics: not supported by this type"},
		"cpu without metricType": {[]ScaleTrigger{{Type: "cpu"}}, "trigger 0 (cpu): metricType: missing, use Utilization or AverageValue"},
		"Utilization of a queue": {[]ScaleTrigger{{Type: "kafka", MetricType: "Utilization"}}, `trigger 0 (kafka): metricType: "Utilization" is neither AverageValue nor Value`},
		"name twice":             {[]ScaleTrigger{{Type: "kafka", Name: "a"}, {Type: "cron", Name: "a"}}, `trigger 1 (cron): name: "a" is already the name of trigger 0`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			so := valid(func(so *ScaledObject) { so.Spec.Triggers = tt.triggers })
			if err := so.Validate(); err != nil {
				t.Errorf("the object: %v", err)
			}
			last := len(tt.triggers) - 1
			for i := range tt.triggers {
				if err := so.TriggerProblem(i); (err != nil) != (i == last) {
					t.Errorf("trigger %d: %v", i, err)
				}
			}
			if err := so.ValidateTriggers(); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	var c Conditions
	if !c.Initialize() || c.Initialize() {
		t.Error("Initialize must add the base conditions once")
	}
	if got, _ := c.Get(ConditionPaused); got.Status != metav1.ConditionFalse {
		t.Errorf("Paused starts as %s, want False", got.Status)
	}
	ready := Condition{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: ReasonScaledObjectReady}
	if !c.Set(ready) || c.Set(ready) || !c.IsTrue(ConditionReady) || len(c) != 4 {
		t.Errorf("Set must replace in place and report changes: %+v", c)
	}
	if !c.Remove(ConditionReady) || c.Remove(ConditionReady) || len(c) != 3 {
		t.Errorf("Remove must remove once: %+v", c)
	}
}

func TestTypesAndAuthenticationsAreDistinctInOrder(t *testing.T) {
	so := valid(func(so *ScaledObject) {
		so.Spec.Triggers = []ScaleTrigger{
			{Type: "kafka", AuthenticationRef: &AuthenticationRef{Name: "b"}},
			{Type: "cron"},
			{Type: "kafka", AuthenticationRef: &AuthenticationRef{Name: "a"}},
			{Type: "rabbitmq", AuthenticationRef: &AuthenticationRef{Name: "b"}},
		}
	})
	if got := so.TriggersTypes(); got != "kafka,cron,rabbitmq" {
		t.Errorf("types = %q", got)
	}
	if got := so.AuthenticationsTypes(); got != "b,a" {
		t.Errorf("authentications = %q", got)
	}
}
