package scaling

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func scaleUp(rules autoscalingv2.HPAScalingRules) func(*Input) {
	return func(in *Input) {
		advanced(in).HorizontalPodAutoscalerConfig = &v1alpha1.HorizontalPodAutoscalerConfig{
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &rules},
		}
	}
}

func pods(n int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: 60}
}

func percent(n int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: 60}
}

func TestJump(t *testing.T) {
	type rules = autoscalingv2.HPAScalingRules
	slowest, off := autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect
	work := triggers(reads(0, 200)) // asks for 20
	valueType := changed(reads(0, 200), func(t *Trigger) { t.Metrics[0].Type = autoscalingv2.ValueMetricType })
	unread := changed(reads(1, 500), func(t *Trigger) { t.Outcome = Failed })
	const held = "-"
	belowThreshold := changed(reads(1, 300), func(t *Trigger) { t.Metrics[0].Active = false })
	tests := map[string]struct {
		in     []func(*Input)
		want   int32
		metric string // "" for no record, held for one that only limits
	}{
		"no rules":                          {[]func(*Input){work}, 20, "s0-m"},
		"rules without policies":            {[]func(*Input){work, scaleUp(rules{StabilizationWindowSeconds: ptr(int32(0))})}, 20, "s0-m"},
		"from min":                          {[]func(*Input){work, bounds(30, 90)}, 30, ""},
		"limited by pods from 0":            {[]func(*Input){work, scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 4, "s0-m"},
		"limited by pods, but at least min": {[]func(*Input){work, bounds(6, 90), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 6, held},
		"limited by pods from idle":         {[]func(*Input){work, bounds(2, 90), idle(1), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 5, "s0-m"},
		"limited by percent":                {[]func(*Input){work, bounds(3, 90), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{percent(50)}})}, 5, "s0-m"},
		"the faster of two by default":      {[]func(*Input){work, scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4), percent(900)}})}, 10, "s0-m"},
		"the slower of two when asked for":  {[]func(*Input){work, scaleUp(rules{SelectPolicy: &slowest, Policies: []autoscalingv2.HPAScalingPolicy{pods(4), percent(900)}})}, 4, "s0-m"},
		"the slower of the HPA's defaults":  {[]func(*Input){work, scaleUp(rules{SelectPolicy: &slowest})}, 2, "s0-m"},
		"scale-up disabled":                 {[]func(*Input){work, scaleUp(rules{SelectPolicy: &off})}, 1, ""},
		"a scale-up window":                 {[]func(*Input){work, scaleUp(rules{StabilizationWindowSeconds: ptr(int32(60))})}, 1, ""},
		"a scale-up window and policies":    {[]func(*Input){work, scaleUp(rules{StabilizationWindowSeconds: ptr(int32(60)), Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 1, held},
		"a formula and policies":            {[]func(*Input){work, modifiers("a", "5"), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 1, held},
		"KEDA's step, and policies":         {[]func(*Input){work, annotated(v1alpha1.AnnotationActivation, "one"), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 1, ""},
		"KEDA's step":                       {[]func(*Input){work, annotated(v1alpha1.AnnotationActivation, "one")}, 1, ""},
		"a formula":                         {[]func(*Input){work, modifiers("a", "5")}, 1, ""},
		"a Value metric":                    {[]func(*Input){triggers(valueType)}, 1, ""},
		"the largest demand, active or not": {[]func(*Input){triggers(reads(0, 200), belowThreshold)}, 30, "s1-m"},
		"what could not be read is left":    {[]func(*Input){triggers(reads(0, 200), unread)}, 20, "s0-m"},
		"at most max":                       {[]func(*Input){work, bounds(0, 7)}, 7, "s0-m"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(given(append([]func(*Input){replicas(0)}, tt.in...)...))
			if d.Write == nil || *d.Write != tt.want {
				t.Fatalf("writes %v, want %d", d.Write, tt.want)
			}
			switch {
			case tt.metric == "" && d.Activation != nil:
				t.Errorf("recorded %+v", d.Activation)
			case tt.metric == "":
			case d.Activation == nil || d.Activation.Metric != strings.TrimSuffix(tt.metric, held) || d.Activation.Replicas != tt.want || !d.Activation.Time.Time.Equal(t0):
				t.Errorf("recorded %+v", d.Activation)
			}
		})
	}
}

func TestCeiling(t *testing.T) {
	type rules = autoscalingv2.HPAScalingRules
	slowest, off := autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect
	short := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 50, PeriodSeconds: 15}
	both := []autoscalingv2.HPAScalingPolicy{pods(4), short}
	tests := map[string]struct {
		rules rules
		min   int32
		after time.Duration
		want  int32 // 0 for nothing held
	}{
		"at once":                             {rules{Policies: both[:1]}, 0, 0, 4},
		"to the end of the period":            {rules{Policies: both[:1]}, 0, 61 * time.Second, 4},
		"and no longer":                       {rules{Policies: both[:1]}, 0, 62 * time.Second, 0},
		"a clock that is behind":              {rules{Policies: both[:1]}, 0, -5 * time.Second, 4},
		"never less than min":                 {rules{Policies: both[:1]}, 7, time.Second, 7},
		"percent of max(min, 1)":              {rules{Policies: []autoscalingv2.HPAScalingPolicy{percent(100)}}, 3, time.Second, 6},
		"the larger change":                   {rules{Policies: both}, 0, time.Second, 4},
		"the larger change, a period later":   {rules{Policies: both}, 0, 17 * time.Second, 6},
		"the larger change, two periods":      {rules{Policies: both}, 0, 32 * time.Second, 9},
		"the smaller change":                  {rules{Policies: both, SelectPolicy: &slowest}, 0, time.Second, 2},
		"the smaller change, a period later":  {rules{Policies: both, SelectPolicy: &slowest}, 0, 17 * time.Second, 3},
		"the smaller change, after a minute":  {rules{Policies: both, SelectPolicy: &slowest}, 0, 60 * time.Second, 4},
		"nothing to hold where nothing rises": {rules{Policies: both, SelectPolicy: &off}, 0, time.Second, 0},
		"nothing to hold without policies":    {rules{}, 0, time.Second, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := given(bounds(tt.min, 90), scaleUp(tt.rules))
			in.Object.Status.Activation = &v1alpha1.Activation{Time: metav1.NewMicroTime(t0)}
			got, held := Ceiling(in.Object, t0.Add(tt.after))
			if held != (tt.want > 0) || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, held, tt.want)
			}
		})
	}
	if n, held := Ceiling(given(scaleUp(rules{Policies: both})).Object, t0); held {
		t.Errorf("without a record %d", n)
	}
}

// The HPA counts its own rises and not ours. Whatever the policies, the two
// together keep to them.
func TestAJumpCountsIntoThePolicies(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		rules := autoscalingv2.HPAScalingRules{SelectPolicy: ptr(autoscalingv2.MinChangePolicySelect)}
		for range 1 + r.IntN(3) {
			p := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 1 + r.Int32N(9), PeriodSeconds: 5 + r.Int32N(100)}
			if r.IntN(2) == 0 {
				p.Type, p.Value = autoscalingv2.PercentScalingPolicy, 10+r.Int32N(200)
			}
			rules.Policies = append(rules.Policies, p)
		}
		if len(rules.Policies) == 1 {
			rules.SelectPolicy = nil
		}
		in := given(replicas(0), bounds(r.Int32N(4), 10000), triggers(reads(0, 1e9)), scaleUp(rules))
		hpaAfterAJump(t, r, in)
	}
}

// A target at zero that belongs at its minimum rises like any other, although no
// trigger asks for it: the HPA did nothing while it was there.
func TestARepairOfZeroCountsIntoThePolicies(t *testing.T) {
	rules := autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 60},
	}}
	d := Decide(given(replicas(0), bounds(3, 100), triggers(reads(0, 0)), scaleUp(rules)))
	if d.Write == nil || *d.Write != 3 {
		t.Fatalf("write = %v, want 3", d.Write)
	}
	if a := d.Activation; a == nil || a.Replicas != 3 || a.Metric != "" {
		t.Errorf("record = %+v, want one of 3 replicas", a)
	}
	if d := Decide(given(replicas(1), bounds(3, 100), triggers(reads(0, 0)), scaleUp(rules))); d.Activation != nil {
		t.Errorf("record = %+v of a rise that the HPA knows", d.Activation)
	}
}

// hpaAfterAJump plays the HPA, told of an endless backlog as far as it may be,
// and holds every rise against the policies with the whole truth.
func hpaAfterAJump(t *testing.T, r *rand.Rand, in Input) {
	t.Helper()
	d, p := Decide(in), policiesOf(in.Object)
	in.Object.Status.Activation = d.Activation
	type change struct{ at, from, to int32 }
	written := r.Int32N(2) // seconds after the record
	all := []change{{written, 0, *d.Write}}
	at := func(second int32) (n int32) { // before what happens then
		for _, c := range all {
			if c.at < second {
				n = c.to
			}
		}
		return n
	}
	for second := written + 1; second < 300; second += 1 + r.Int32N(15) {
		now := all[len(all)-1].to
		hpa := p.choose(func(policy autoscalingv2.HPAScalingPolicy) int32 {
			start := now
			for _, c := range all[1:] { // the jump is not in its memory
				if c.at > second-policy.PeriodSeconds {
					start -= c.to - c.from
				}
			}
			return rise(start, policy)
		})
		if most, held := Ceiling(in.Object, t0.Add(time.Duration(second)*time.Second)); held {
			hpa = min(hpa, most)
		}
		if hpa <= now {
			continue
		}
		truth := p.choose(func(policy autoscalingv2.HPAScalingPolicy) int32 {
			if n := at(second - policy.PeriodSeconds + 1); n > 0 {
				return rise(n, policy)
			}
			return p.first(policy)
		})
		if all = append(all, change{second, now, hpa}); hpa > truth {
			t.Fatalf("policies %+v, min %d: %d after %d s, allowed are %d: %v", p.all, p.floor, hpa, second, truth, all)
		}
	}
	if len(all) < 2 {
		t.Errorf("policies %+v: it never rises again", p.all)
	}
}

func TestActivationValue(t *testing.T) {
	a := Decide(given(replicas(0), triggers(reads(0, 200)))).Activation
	tests := map[string]struct {
		value  float64
		metric string
		after  time.Duration
		want   float64
	}{
		"a drained backlog still asks for the jump": {0, "s0-m", 44 * time.Second, 200},
		"a growing backlog asks for more":           {700, "s0-m", time.Second, 700},
		"another metric is as read":                 {0, "s1-m", time.Second, 0},
		"after the window it is as read":            {0, "s0-m", 45 * time.Second, 0},
		"a clock that is a little behind":           {0, "s0-m", -time.Second, 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ActivationValue(tt.value, 10, tt.metric, a, t0.Add(tt.after)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := ActivationValue(3, 10, "s0-m", nil, t0); got != 3 {
		t.Errorf("without a record: %v", got)
	}
}

// The HPA divides what it is told in thousandths: it must come to the jump's
// own number for every target.
func TestActivationValueComesToTheJumpsReplicas(t *testing.T) {
	for _, target := range []float64{0.001, 0.0015, 0.1, 0.3, 1, 2.5, 7, 33.3333} {
		for _, n := range []int32{2, 3, 7, 10, 99, 1000} {
			told := Quantity(ActivationValue(0, target, "m", &v1alpha1.Activation{Metric: "m", Replicas: n}, time.Time{}))
			per := Quantity(target)
			got := math.Ceil(float64(told.MilliValue()) / float64(per.MilliValue()))
			if int32(got) != n {
				t.Errorf("target %v, %d replicas: the HPA computes %v", target, n, got)
			}
		}
	}
}

// Policies of a ScaledObject are no HPA's yet, and the record of a rise is in a
// status that a tenant may write: whatever is in them, an answer costs no more
// than one for an HPA that the API server takes.
func TestPoliciesThatNoHPATakes(t *testing.T) {
	long := pods(4)
	long.PeriodSeconds = math.MaxInt32
	in := given(scaleUp(autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{long}}))
	in.Object.Status.Activation = &v1alpha1.Activation{Time: metav1.NewMicroTime(t0)}
	for _, age := range []time.Duration{time.Hour, 24 * time.Hour} { // in years it takes gigabytes
		if n, held := Ceiling(in.Object, t0.Add(age)); held {
			t.Errorf("after %v %d replicas, by a period that no HPA has", age, n)
		}
	}
	many := make([]autoscalingv2.HPAScalingPolicy, 5000)
	for i := range many {
		many[i] = long
	}
	in = given(scaleUp(autoscalingv2.HPAScalingRules{Policies: many}))
	if p := policiesOf(in.Object); len(p.all) != mostPolicies || p.longest() != longestPeriod*time.Second || many[0].PeriodSeconds != math.MaxInt32 {
		t.Errorf("%d policies of up to %v, or the object was changed", len(p.all), p.longest())
	}
}
