package scaling

import (
	"math"
	"strings"
	"testing"
)

func TestFormula(t *testing.T) {
	both := map[string]float64{"a": 4, "b": 2.5}
	onlyB := map[string]float64{"b": 2.5}
	none := map[string]float64{}
	tests := map[string]struct {
		formula string
		values  map[string]float64
		want    float64 // NaN for nil
		err     string
	}{
		"sum":                           {"a + b", both, 6.5, ""},
		"an integer result is cast":     {"a > 1 ? 1 : 2", both, 1, ""},
		"cast by type, not by prefix":   {"float(a) > 1 ? 1 : 2", both, 1, ""},
		"closures":                      {"count([a,b], {# > 1}) > 1 ? 5 : 0", both, 5, ""},
		"sum of a list":                 {"sum([a,b])", both, 6.5, ""},
		"mean":                          {"mean([a,b])", both, 3.25, ""},
		"max":                           {"max(a,b)", both, 4, ""},
		"modulo of integers":            {"int(a) % 2", both, 0, ""},
		"a negative result is 0":        {"b - a", both, 0, ""},
		"not finite":                    {"a / 0", both, 0, "scalingModifiers.formula: the result is not a finite number"},
		"a failed source is nil":        {"a ?? b", onlyB, 2.5, ""},
		"nil without a stand-in":        {"a ?? b", none, math.NaN(), ""},
		"a literal stands in":           {"a ?? b ?? 7", none, 7, ""},
		"nil can be tested":             {"a == nil ? 0 : a", onlyB, 0, ""},
		"nil in arithmetic is an error": {"a + b", onlyB, 0, "scalingModifiers.formula: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := CompileFormula(tt.formula, []string{"a", "b"})
			if err != nil {
				t.Fatal(err)
			}
			got, some, err := f.Eval(tt.values)
			if err != nil || tt.err != "" {
				if err == nil || tt.err == "" || !strings.HasPrefix(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if some == math.IsNaN(tt.want) || some && got != tt.want {
				t.Errorf("got %v, %v, want %v", got, some, tt.want)
			}
		})
	}
}

func TestFormulasThatCannotWorkAreRefused(t *testing.T) {
	for name, formula := range map[string]string{
		"empty":            " ",
		"syntax":           "a +",
		"unknown name":     "c + a",
		"modulo of floats": "a % b",
		"not a number":     "true",
		"text":             `"a"`,
		"too long":         strings.Repeat("(", 700_000) + "a",
		"too large":        "a" + strings.Repeat("+a", 2000),
		"too much memory":  "sum(1..900000, sum(1..900000, # + a))",
		"too long loops":   "let x = 1..300; sum(x, sum(x, sum(x, # + a)))",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CompileFormula(formula, []string{"a", "b"})
			if err == nil || !strings.HasPrefix(err.Error(), "scalingModifiers.formula: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzFormula proves that no text, and no values, make a formula do harm: it
// is refused, or its result is a finite number, nil, or an error of one line.
func FuzzFormula(f *testing.F) {
	for _, formula := range []string{
		"a + b", "a > 1 ? 1 : 2", "float(a) > 1 ? 1 : 2", "count([a,b], {# > 1}) > 1 ? 5 : 0", "int(a) % 2", "a ?? b ?? 7",
		"a == nil ? 0 : a", "a / 0", "let x = 1..9; sum(x, # * a)", "max(a, b) ** 2", "[a, b] | filter(# > 0) | len()", "a ^ -b", "1 in [a]",
	} {
		f.Add(formula, 4.0, 2.5, true)
	}
	f.Fuzz(func(t *testing.T, formula string, a, b float64, both bool) {
		compiled, err := CompileFormula(formula, []string{"a", "b"})
		if err == nil {
			values := map[string]float64{"a": a}
			if both {
				values["b"] = b
			}
			var v float64
			if v, _, err = compiled.Eval(values); err == nil && (math.IsNaN(v) || math.IsInf(v, 0) || v < 0) {
				t.Errorf("%q of %v is %v", formula, values, v)
			}
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "scalingModifiers.formula: ") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("error %q", err)
		}
	})
}

// FuzzMetricNames proves that a name that the HPA is told comes back as it was.
func FuzzMetricNames(f *testing.F) {
	for _, name := range []string{"kafka-orders", "", "s0-x", "-", "s", "UPPER", "a/b.c:d%e(f)", "é\xff"} {
		f.Add(0, name)
		f.Add(12, name)
	}
	f.Fuzz(func(t *testing.T, index int, name string) {
		if trigger, own, ok := SplitMetricName(name); ok && (trigger < 0 || !strings.HasSuffix(name, "-"+own)) {
			t.Errorf("SplitMetricName(%q) = %d, %q", name, trigger, own)
		}
		if index < 0 || index > math.MaxInt32 {
			return
		}
		if trigger, own, ok := SplitMetricName(MetricName(index, name)); !ok || trigger != index || own != name {
			t.Errorf("metric %d %q came back as %d %q, %v", index, name, trigger, own, ok)
		}
	})
}
