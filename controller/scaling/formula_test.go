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
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CompileFormula(formula, []string{"a", "b"})
			if err == nil || !strings.HasPrefix(err.Error(), "scalingModifiers.formula: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v", err)
			}
		})
	}
}
