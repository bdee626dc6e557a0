package scaling

import (
	"math"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

func TestQuantity(t *testing.T) {
	tests := map[string]struct {
		v    float64
		want string
	}{
		"whole":                {12, "12"},
		"below half a milli":   {0.0004, "0"},
		"above half a milli":   {0.0006, "1m"},
		"fraction":             {2.5, "2500m"},
		"suffix":               {1000, "1k"},
		"three decimals":       {12345.6789, "12345679m"},
		"large":                {9e15, "9P"},
		"beyond milli in int":  {1e16, "10P"},
		"far beyond 64 bits":   {1 << 80, "9200T"},
		"beyond all measure":   {1e300, "9200T"},
		"negative":             {-3, "0"},
		"not a number":         {math.NaN(), "0"},
		"infinite":             {math.Inf(1), "0"},
		"negatively infinite":  {math.Inf(-1), "0"},
		"negative next to 0":   {-0.0001, "0"},
		"a binary approximate": {0.1 + 0.2, "300m"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, want := Quantity(tt.v), resource.MustParse(tt.want)
			if got.Cmp(want) != 0 {
				t.Errorf("Quantity(%v) = %s, want %s", tt.v, got.String(), tt.want)
			}
			// As the HPA reads it.
			read := resource.MustParse(got.String())
			if milli := read.MilliValue(); tt.v >= 1<<63 && !math.IsInf(tt.v, 1) && milli <= 0 {
				t.Errorf("Quantity(%v) is %d thousandths to the HPA", tt.v, milli)
			}
		})
	}
}

func TestDesiredReplicas(t *testing.T) {
	tests := map[string]struct {
		value, target float64
		lo, hi, want  int32
	}{
		"rounds up":                        {12, 5, 0, 100, 3},
		"exact":                            {50, 5, 0, 100, 10},
		"at least lo":                      {0, 5, 2, 100, 2},
		"at most hi":                       {1e300, 5, 0, 100, 100},
		"tenths are not counted twice":     {0.1 + 0.1 + 0.1, 0.1, 0, 100, 3},
		"a target below a thousandth":      {0.001, 0.0001, 0, 100, 10},
		"lo wins over a smaller hi":        {50, 5, 4, 2, 4},
		"the smallest positive is one pod": {0.001, 5, 0, 100, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := DesiredReplicas(tt.value, tt.target, tt.lo, tt.hi); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestMetricNames(t *testing.T) {
	tests := map[string]struct {
		trigger int
		name    string
		want    string
	}{
		"plain":                {0, "kafka-orders", "s0-kafka-orders"},
		"as the family has it": {12, "a.b:c", "s12-a.b:c"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := MetricName(tt.trigger, tt.name)
			if got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			trigger, rest, ok := SplitMetricName(got)
			if !ok || trigger != tt.trigger || MetricName(trigger, rest) != got {
				t.Errorf("split into %d, %q, %v", trigger, rest, ok)
			}
		})
	}
	for _, bad := range []string{"", "composite-metric", "s-x", "s1", "sx-y", "s-1-x", "1-x"} {
		if _, _, ok := SplitMetricName(bad); ok {
			t.Errorf("%q was split", bad)
		}
	}
}
