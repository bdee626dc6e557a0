package scaling

import (
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/expr-lang/expr/parser"
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
		"predicate without braces":      {"sum([a, b], # * 2)", both, 13, ""},
		"predicate with an index":       {"sum(map([a, b], # + #index))", both, 7.5, ""},
		"filter, then count":            {"[a, b] | filter(# > 3) | len()", both, 1, ""},
		"one of a list":                 {"sort([a, b])[0]", both, 2.5, ""},
		"in a list":                     {"any([a, b], # in [4.0, 5.0]) ? 1 : 0", both, 1, ""},
		"functions of numbers":          {"round(abs(ceil(a) - floor(b)) ** 2) ^ 1", both, 4, ""},
		"functions of lists":            {"median([a, b]) + min([a, b], 9) + mean(a, b)", both, 9, ""},
		"chained comparison":            {"1 < a < 5 ? a : b", both, 4, ""},
		"conditions":                    {"not (a > 5 or b > 5) and a != b ? 3 : 0", both, 3, ""},
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
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CompileFormula(formula, []string{"a", "b"})
			if err == nil || !strings.HasPrefix(err.Error(), "scalingModifiers.formula: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestFormulasThatTakeLongAreRefused has a trick each that makes little text
// take long, or hold much. They are refused for what they are, before they are
// compiled or run.
func TestFormulasThatTakeLongAreRefused(t *testing.T) {
	list := "[" + strings.Repeat("a,", 300) + "a]"
	middle := "a"
	for range 40 { // the middle stands twice in the tree
		middle = "(1<" + middle + "<2?a:b)"
	}
	for name, tt := range map[string]struct{ formula, why string }{
		"range":                         {"sum(1..900000)", "a list must be written out"},
		"range in a range":              {"sum(1..900, sum(1..900, # + a))", "a list must be written out"},
		"range in a list":               {"sum([1..900])", ".. cannot be used"},
		"list kept by let":              {"let x = [a]; sum(x)", "let cannot be used"},
		"let in a predicate":            {"sum([a], {let x = #; x})", "let cannot be used"},
		"predicate in a predicate":      {"sum([a, b], sum([a, b], # + a))", "sum within a predicate"},
		"predicate that makes lists":    {"len(map(map([a], [#, #]), [#, #]))", "a list in place of a number"},
		"lists in lists":                {"max([[a, b], [a, b]])", "a list in place of a number"},
		"list that grows":               {"reduce([a, b, a], [#acc, #acc])", "reduce cannot be used"},
		"list by a condition":           {"sum(a > b ? [a] : [b])", "a list must be written out"},
		"lists compared":                {"[a] == [b] ? 1 : 2", "a list in place of a number"},
		"list joined to itself":         {"len(concat([a], [b]))", "a list must be written out"},
		"pairs of all elements":         {"len(uniq([a, b]))", "a list must be written out"},
		"groups":                        {"len(groupBy([a, b], #))", "a list must be written out"},
		"order by a predicate":          {"sortBy([a, b], #)[0]", "a list must be written out"},
		"text repeated":                 {`len(repeat("a", 900000))`, "a list must be written out"},
		"text":                          {`"aaaa" matches "a*" ? 1 : 2`, "matches cannot be used"},
		"map":                           {"{a: 1}", "a map cannot be used"},
		"all variables":                 {"len($env)", "a list must be written out"},
		"all variables compared":        {"$env == $env ? 1 : 2", "$env cannot be used"},
		"part of a list":                {"sum([a, b][0:1])", "a list must be written out"},
		"several expressions":           {"a; b", "; cannot be used"},
		"time":                          {"now().Unix()", "a call cannot be used"},
		"long list, long predicate":     {"sum(" + list + ", #" + strings.Repeat("+#", 300) + ")", "takes more than the 10000 steps"},
		"long list in a predicate":      {"sum(" + list + ", # in " + list + " ? 1 : 0)", "takes more than the 10000 steps"},
		"many predicates of one list":   {"sum(" + strings.Repeat("map(", 40) + list + strings.Repeat(", #)", 40) + ")", "takes more than the 10000 steps"},
		"comparisons within each other": {middle, "takes more than the 10000 steps"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CompileFormula(tt.formula, []string{"a", "b"})
			if err == nil || !strings.HasPrefix(err.Error(), "scalingModifiers.formula: "+tt.why) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestStepsOfAPredicateAreThoseOfItsList proves how steps are counted.
func TestStepsOfAPredicateAreThoseOfItsList(t *testing.T) {
	for formula, want := range map[string]int{
		"a + b":                3,  // two names, one operator
		"sum([a, b])":          6,  // the function, two names, the list and a look at each
		"sum([a, b], # + 1)":   12, // and three more, twice
		"1 < a < 2 ? a : b":    10, // a stands twice
		"max(sort([a, b, a]))": 14, // three elements moved twice
	} {
		tree, err := parser.Parse(formula)
		if err != nil {
			t.Fatal(err)
		}
		s := &steps{each: 1}
		if err := s.value(tree.Node); err != nil || s.taken != want {
			t.Errorf("%s takes %d steps, want %d: %v", formula, s.taken, want, err)
		}
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

// What is counted of a formula is no less than what it takes once it is compiled.
func TestFormulasAreCountedAsTheyAreKept(t *testing.T) {
	for name, text := range map[string]string{
		"signs":        strings.Repeat("-", 998) + "a",
		"alternatives": strings.Repeat("a??", 330) + "a",
		"conditions":   strings.Repeat("a>0?1:", 140) + "a",
		"parentheses":  strings.Repeat("(a+1)*", 150) + "a",
		"short":        "a + b",
	} {
		const many = 20
		var all [many]*Formula
		before := heap()
		for i := range all {
			f, err := CompileFormula(text, []string{"a", "b"})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all[i] = f
		}
		kept := int(heap()-before) / many
		runtime.KeepAlive(all)
		if counted := FormulaBytes(text) + 4<<10; kept > counted {
			t.Errorf("%s: %d bytes are kept of %d that are counted", name, kept, counted)
		}
	}
	chained := "a"
	for range 10 {
		chained = "(1<" + chained + "<2?a:a)"
	}
	if _, err := CompileFormula(chained, []string{"a"}); err == nil || !strings.Contains(err.Error(), "chains of comparisons stand for too much") {
		t.Errorf("chains within chains: %v", err)
	}
	if few := FormulaBytes("max(queue_a, queue_b) * 2 + 1.5"); few != 10*costOfToken {
		t.Errorf("a formula of ten tokens counts %d bytes", few)
	}
}

// heap is what the process keeps, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return int64(now.HeapAlloc) //nolint:gosec // far below
}
