package contract

import (
	"strings"
	"testing"
)

func TestMetricName(t *testing.T) {
	if got, want := MetricName("rabbitmq", "a/b.c:d%e(f)", "Q @$\",*_"), `rabbitmq-a-b-c-d-e-f--Q @$",*_`; got != want {
		t.Errorf("name = %s, want %s", got, want)
	}
}

// FuzzMetricName proves that names are normalised once and for all, one
// character for one.
func FuzzMetricName(f *testing.F) {
	for _, part := range []string{"orders", "a/b.c:d%e(f)", "", "-", "\xff", "s0-"} {
		f.Add("kafka", part)
	}
	f.Fuzz(func(t *testing.T, prefix, part string) {
		name := MetricName(prefix, part)
		if strings.ContainsAny(name, "/.:%()") || len(name) != len(prefix)+1+len(part) || MetricName(name) != name {
			t.Errorf("MetricName(%q, %q) = %q", prefix, part, name)
		}
	})
}
