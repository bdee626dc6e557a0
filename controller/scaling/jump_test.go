package scaling

import (
	"math"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
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
	belowThreshold := changed(reads(1, 300), func(t *Trigger) { t.Metrics[0].Active = false })
	tests := map[string]struct {
		in     []func(*Input)
		want   int32
		metric string // "" for no record
	}{
		"no rules":                          {[]func(*Input){work}, 20, "s0-m"},
		"rules without policies":            {[]func(*Input){work, scaleUp(rules{StabilizationWindowSeconds: ptr(int32(0))})}, 20, "s0-m"},
		"from min":                          {[]func(*Input){work, bounds(30, 90)}, 30, ""},
		"limited by pods from 1":            {[]func(*Input){work, scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 5, "s0-m"},
		"limited by pods from min":          {[]func(*Input){work, bounds(3, 90), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4)}})}, 7, "s0-m"},
		"limited by percent":                {[]func(*Input){work, bounds(3, 90), scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{percent(50)}})}, 5, "s0-m"},
		"the faster of two by default":      {[]func(*Input){work, scaleUp(rules{Policies: []autoscalingv2.HPAScalingPolicy{pods(4), percent(900)}})}, 10, "s0-m"},
		"the slower of two when asked for":  {[]func(*Input){work, scaleUp(rules{SelectPolicy: &slowest, Policies: []autoscalingv2.HPAScalingPolicy{pods(4), percent(900)}})}, 5, "s0-m"},
		"the slower of the HPA's defaults":  {[]func(*Input){work, scaleUp(rules{SelectPolicy: &slowest})}, 2, "s0-m"},
		"scale-up disabled":                 {[]func(*Input){work, scaleUp(rules{SelectPolicy: &off})}, 1, ""},
		"a scale-up window":                 {[]func(*Input){work, scaleUp(rules{StabilizationWindowSeconds: ptr(int32(60))})}, 1, ""},
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
			case d.Activation == nil || d.Activation.Metric != tt.metric || d.Activation.Replicas != tt.want || !d.Activation.Time.Time.Equal(t0):
				t.Errorf("recorded %+v", d.Activation)
			}
		})
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
