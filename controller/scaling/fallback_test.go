package scaling

import (
	"math"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

func TestFallbackValue(t *testing.T) {
	average, value := autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType
	tests := map[string]struct {
		kind     autoscalingv2.MetricTargetType
		target   float64
		fallback v1alpha1.Fallback
		current  int32
		ready    int32
		want     float64
	}{
		"static":                {average, 10, v1alpha1.Fallback{Replicas: 6}, 1, 0, 60},
		"fractional target":     {average, 2.5, v1alpha1.Fallback{Replicas: 4}, 1, 0, 10},
		"Value":                 {value, 20, v1alpha1.Fallback{Replicas: 6}, 1, 4, 30},
		"current":               {average, 10, v1alpha1.Fallback{Replicas: 6, Behavior: v1alpha1.FallbackCurrentReplicas}, 3, 0, 30},
		"current as it is more": {average, 10, v1alpha1.Fallback{Replicas: 6, Behavior: v1alpha1.FallbackCurrentReplicasIfHigher}, 9, 0, 90},
		"current as it is less": {average, 10, v1alpha1.Fallback{Replicas: 6, Behavior: v1alpha1.FallbackCurrentReplicasIfLower}, 2, 0, 20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := FallbackValue(tt.target, tt.kind, FallbackReplicas(&tt.fallback, tt.current), tt.ready)
			if err != nil || got != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
	if _, err := FallbackValue(20, value, 6, 0); err == nil {
		t.Error("a Value metric without ready pods has a fallback")
	}
}

// The HPA multiplies what it is told for a Value metric by the ready pods, and
// rounds up: it must come to the fallback's own number.
func TestFallbackValueComesToItsReplicas(t *testing.T) {
	for _, target := range []float64{0.1, 0.3, 1, 2.5, 7, 33.3333, 1e6} {
		for _, replicas := range []int32{1, 3, 5, 7, 40} {
			for ready := int32(1); ready <= 40; ready++ {
				value, err := FallbackValue(target, autoscalingv2.ValueMetricType, replicas, ready)
				if err != nil {
					t.Fatal(err)
				}
				told, of := Quantity(value), Quantity(target)
				got := math.Ceil(float64(told.MilliValue()) / float64(of.MilliValue()) * float64(ready))
				if int32(got) != replicas {
					t.Errorf("target %v, %d replicas, %d pods ready: the HPA computes %v", target, replicas, ready, got)
				}
			}
		}
	}
}

func TestFallbackOf(t *testing.T) {
	tests := map[string]struct {
		in   []func(*Input)
		want bool
	}{
		"none":                           {nil, false},
		"static":                         {[]func(*Input){withFallback(0, 0, "")}, true},
		"negative threshold":             {[]func(*Input){withFallback(-1, 1, "")}, false},
		"negative replicas":              {[]func(*Input){withFallback(1, -1, "")}, false},
		"by a formula that is not there": {[]func(*Input){withFallback(1, 1, v1alpha1.FallbackScalingModifiers)}, false},
		"with a fractional target":       {[]func(*Input){withFallback(1, 1, ""), modifiers("lag", "2.5")}, true},
		"with a target that is none":     {[]func(*Input){withFallback(1, 1, ""), modifiers("lag", "0")}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := FallbackOf(given(tt.in...).Object) != nil; got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
