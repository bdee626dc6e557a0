package document

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
)

// TestPlaces are paths that are refused, by whoever checks them first.
func TestPlaces(t *testing.T) {
	const onlyModifiers = ": the modifiers are @this, @keys, @values and @flatten, without arguments"
	for place, want := range map[string]string{
		"":                             "has a step without a text",
		"a..b":                         "has a step without a text",
		"a|":                           "has a step without a text",
		"a.":                           "has a step without a text",
		"@pretty":                      "has @pretty" + onlyModifiers,
		"a|@reverse|0":                 "has @reverse" + onlyModifiers,
		`@flatten:{"deep":true}`:       "has @flatten" + onlyModifiers,
		"x.@fromstr.@tostr":            "has @fromstr" + onlyModifiers,
		"[a,b].0":                      `has a step that begins with [: write \[ where a key does`,
		`{"x":a}.x`:                    `has a step that begins with {: write \{ where a key does`,
		"!5":                           `has a step that begins with !: write \! where a key does`,
		"#(a.#(b==1))#":                "has a query within a query",
		"#(a.#>3)":                     "has a query within a query",
		"#(a":                          `has a query that is not like #(state=="waiting")`,
		"#(a==~true)":                  `has a query that is not like #(state=="waiting")`,
		"#(a!b)":                       `has a query that is not like #(state=="waiting")`,
		"#(a)b":                        "has a text behind a query",
		"#(@keys==1)":                  "has a query of something else than keys",
		"#(a|b==1)":                    "has a query of something else than keys",
		strings.Repeat("a", 513):       "is longer than 512 bytes",
		strings.Repeat("a.", 32) + "a": "has more than 32 steps",
		strings.Repeat("a|", 32) + "a": "has more than 32 steps",
		"#(" + strings.Repeat("a.", 33) + "a==1)": "has more than 32 steps",
		strings.Repeat("*a", 33):                  "has a pattern of more than 64 characters",
		`#(a%"` + strings.Repeat("*a", 33) + `")`: "has a pattern of more than 64 characters",
	} {
		if _, err := ParsePlace("json", place); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", place, err, want)
		}
	}
	if _, err := ParsePlace("yaml", strings.Repeat("a", 513)); err == nil {
		t.Error("a place of yaml may be of any length")
	}
}

// documents and places are those in which GJSON finds the same.
var documents = []string{
	`{"a":{"b":[1,7.5,{"c":"d"}]},"n":null,"t":true,"f":false,"s":"x\"y","e":{},"l":[]}`,
	`{"q":[{"n":"a","v":1,"s":"up"},{"n":"b","v":2,"s":"down"},{"n":"c","v":2.5,"s":"up","x":{"y":[1,2]}}]}`,
	`[1,2,3,"4",null,true,[5,6],{"a":7}]`,
	`{"a.b":1,"a":{"b":2},"fo*o":3,"\u0061bc":4,"größe":5,"@timestamp":6,"#x":8}`,
	`{"a":NaN,"b":[-Infinity],"c":7,"d":[1,2,],"g":7,}`,
	"{\"a\":1}\n{\"a\":2,\"b\":[3]}\n[4]",
	`{"a":1,"a":{"b":2},"ab":{"b":3,"c":4},"abc":{"d":5}}`,
	` [ { "a" : [ { "b" : 1 } , { "b" : 2 } ] } , { "a" : [ ] } , { "a" : 3 } ] `,
	`7`, `"text"`, `null`, `[]`, `{}`, `[[],[[]],[[[1]]]]`,
}

var places = []string{
	"a", "a.b", "a.b.1", "a.b.2.c", "a.b.#", "#", "n", "t", "s", "e", "l", "l.#", "q.#", "q.#.v", "q.#.v|#", "q.#.v|1", `q.#(n=="b").v`,
	`q.#(n="c").x.y.1`, `q.#(v>1)#|#`, `q.#(v>=2)#.n|0`, `q.#(s!="up").n`, `q.#(n%"*b*").v`, `q.#(n!%"a").v`, `q.#(x).v`, `q.#(v<=1)#.v|0`,
	"6.0", "7.a", "#(>2)", "#(>1)#|#", `#(=="4")`, "@this", "@this.0", "a|b", "@values|1", "@flatten|#",
	`a\.b`, `fo\*o`, "fo*", "f?*o", "abc", "größe", "g*e", "@timestamp", "a*.b", "a*.d", "*.b", "*.*", "c", "d.#", "d.5", "g", "..#", "..1.a", "..#.a|#",
	"..#(a>1).a", "#.a.#.b|#", "#.a|@flatten|#", "#.a.#.b|@flatten|1", "0.a.#(b>1).b", "missing", "a.missing", "9", "q.9.n", "q.0",
}

// TestPlacesAreThoseOfGJSON looks for each place in each document as GJSON does.
func TestPlacesAreThoseOfGJSON(t *testing.T) {
	for _, text := range documents {
		for _, place := range places {
			sameAsGJSON(t, text, place)
		}
	}
}

func sameAsGJSON(t *testing.T, text, place string) {
	t.Helper()
	document, err := Parse(t.Context(), "json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := document.Find(t.Context(), parsed(t, "json", place))
	if status.Code(err) == codes.Unavailable { // lines that are none
		return
	}
	first := document.(jsonText).first
	if strings.HasPrefix(place, "..") {
		first = document.(jsonText).lines
	}
	want := gjson.GetBytes(first, place)
	if place == "@this" && !strings.HasPrefix(place, "..") {
		want = gjson.ParseBytes(first)
	}
	var equal bool
	switch {
	case !want.Exists():
		equal = status.Code(err) == codes.NotFound
	case want.Type == gjson.Number:
		equal = err == nil && !got.IsText && (got.Float == want.Num || math.IsNaN(got.Float) && math.IsNaN(want.Num))
	case want.Type == gjson.String:
		equal = err == nil && got.IsText && got.Text == want.Str
	default:
		equal = status.Code(err) == codes.FailedPrecondition
	}
	if !equal {
		t.Errorf("%s in %s: %+v, %v, want %s %q", place, text, got, err, want.Type, want.Raw)
	}
}

func parsed(t testing.TB, format, text string) Place {
	t.Helper()
	place, err := ParsePlace(format, text)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// TestWorkIsBounded has places whose cost grows with their steps, patterns and
// queries as well as with the text.
func TestWorkIsBounded(t *testing.T) {
	merges := &strings.Builder{}
	merges.WriteString("a0: &a0 {x: 1}\n")
	for n := range 7 {
		fmt.Fprintf(merges, "a%d: &a%d {<<: [%s*a%d]}\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*a%d, ", n), 9), n)
	}
	backtracking := "*" + strings.Repeat("a", 60) + "b"
	same := `"` + strings.Repeat("a", 1<<20) + `"`
	escapes := `"` + strings.Repeat(`\u0061`, 1<<20) + `"`
	for name, tt := range map[string]struct{ format, text, place string }{
		"steps":                {"json", strings.Repeat("[", 30) + strings.Repeat("1,", 4<<20) + strings.Repeat("]", 30), strings.Repeat("0.", 31) + "0"},
		"a pattern":            {"json", "{" + same + ":1}", backtracking},
		"patterns of a query":  {"json", "[" + strings.Repeat(`"`+strings.Repeat("a", 10_000)+`",`, 100) + "1]", `#(%"` + backtracking + `")#|#`},
		"what fits no pattern": {"json", "[" + same + "]", `#(!%"` + backtracking + `")#|#`},
		"escapes":              {"json", `{"a":[` + strings.Repeat(escapes+",", 3) + `1]}`, `a.#(=="x")#|#`},
		"merges":               {"yaml", merges.String(), "a7.b"},
		"keys that are none":   {"yaml", "x: &x\n  ? 1." + strings.Repeat("1", 500) + "\n  : 1\ny:\n  <<: [" + strings.Repeat("*x,", 60_000) + "]", "y.z"},
	} {
		t.Run(name, func(t *testing.T) {
			document, err := Parse(t.Context(), tt.format, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			const want = "valueLocation has more than 128 MiB looked at in this text: it needs fewer steps, patterns or queries"
			value, err := document.Find(t.Context(), parsed(t, tt.format, tt.place))
			if status.Code(err) != codes.FailedPrecondition || err.Error() != want {
				t.Errorf("%+v, %v, want %q", value, err, want)
			}
		})
	}
}

// TestKeysThatAreNoPlace: a key that is longer than any place is passed by as it
// stands, however often a place leads to it.
func TestKeysThatAreNoPlace(t *testing.T) {
	text := "x: &x\n  ? 1." + strings.Repeat("1_", 350_000) + "1\n  : 1\ny:\n  <<: [" + strings.Repeat("*x,", 2_000) + "]"
	document, err := Parse(t.Context(), "yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	before := boundtest.Allocated()
	if value, err := document.Find(t.Context(), parsed(t, "yaml", "y.z")); status.Code(err) != codes.NotFound {
		t.Errorf("%+v, %v", value, err)
	}
	if took := boundtest.Allocated() - before; took > 8<<20 {
		t.Errorf("%d bytes taken", took)
	}
}

// ending is a context that ends after it was looked at some times.
type ending struct {
	context.Context
	left int
}

func (e *ending) Err() error {
	if e.left--; e.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestFindEndsWithItsContext: whoever has no time left neither begins to look
// nor goes on.
func TestFindEndsWithItsContext(t *testing.T) {
	for name, tt := range map[string]struct {
		format, text, place string
		looks               int
	}{
		"JSON":              {"json", `{"a":1}`, "a", 0},
		"YAML":              {"yaml", "a: 1", "a", 0},
		"XML":               {"xml", "<r><a>1</a></r>", "a", 0},
		"scrape":            {"prometheus", "a 1\n", "a", 0},
		"JSON half way":     {"json", "[" + strings.Repeat("1,", 4<<20) + "1]", "#", 3},
		"YAML half way":     {"yaml", "x: &x {" + keysOf(20_000) + "}\na: {<<: *x}", "a.b", 1},
		"scrape half way":   {"prometheus", strings.Repeat("a{b=\"c\"} 1\n", 50_000), `a{b="d"}`, 3},
		"pattern, half way": {"json", `{"` + strings.Repeat("a", 1<<20) + `":1}`, "*a*b", 2},
	} {
		t.Run(name, func(t *testing.T) {
			document, err := Parse(t.Context(), tt.format, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			value, err := document.Find(&ending{t.Context(), tt.looks}, parsed(t, tt.format, tt.place))
			if status.Code(err) != codes.DeadlineExceeded || err.Error() != "there is no time left to look for the value" {
				t.Errorf("%+v, %v", value, err)
			}
		})
	}
}

// TestAllIsComputedInTurn: texts are neither read nor looked into while others are
// at work, and are when it is their turn.
func TestAllIsComputedInTurn(t *testing.T) {
	most, ofOne := computing.Places()
	turns := make([]computing.Turn, most)
	occupy := func() {
		for i := range turns {
			if err := turns[i].Work(budget.Of(t.Context(), string(rune('a'+i/ofOne)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	release := func() {
		for i := range turns {
			turns[i].Rest()
		}
	}
	defer release()
	for format, text := range map[string]string{"json": `{"a":1}`, "yaml": "a: 1", "xml": "<r><a>1</a></r>", "prometheus": "a 1"} {
		place := parsed(t, format, "a")
		read, err := Parse(t.Context(), format, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		occupy()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := Parse(ctx, format, []byte(text)); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s is read while others compute: %v", format, err)
		}
		if _, err := read.Find(ctx, place); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s is looked into while others compute: %v", format, err)
		}
		cancel()
		release()
		if value, err := read.Find(t.Context(), place); err != nil || value.Float != 1 && value.Text != "1" {
			t.Errorf("%s: %+v, %v", format, value, err)
		}
	}
}

// counted counts how often a context is asked whether it has ended.
type counted struct {
	context.Context
	asked int
}

func (c *counted) Err() error {
	c.asked++
	return c.Context.Err()
}

// TestParsersLookUp: whoever parses a large text sees now and then whether its time
// and its turn are over.
func TestParsersLookUp(t *testing.T) {
	for format, text := range map[string]string{
		"json":       "[" + strings.Repeat("1,", 1<<20) + "1]",
		"yaml":       strings.Repeat("- 1\n", 100_000),
		"xml":        "<r>" + strings.Repeat("<a>1</a>", 50_000) + "</r>",
		"prometheus": strings.Repeat("a{b=\"c\"} 1\n", 40_000),
	} {
		ctx := &counted{Context: t.Context()}
		if _, err := Parse(ctx, format, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if ctx.asked < 5 {
			t.Errorf("%s: looked up %d times", format, ctx.asked)
		}
		_, err := Parse(&ending{t.Context(), 3}, format, []byte(text))
		if status.Code(err) != codes.DeadlineExceeded || err.Error() != "there is no time left to look for the value" {
			t.Errorf("%s: %v when the time is over half way", format, err)
		}
	}
}

// TestWhoLooksMakesWay: whoever looks into a document while others wait for its
// memory ends, and says why.
func TestWhoLooksMakesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget.Set(1 << 20)
		defer budget.Set(budget.Usual)
		text := []byte(strings.Repeat("- 1\n", 4_000))
		held, release := budget.Hold(budget.Of(t.Context(), "enemy"))
		document, err := Parse(held, "yaml", text)
		if err != nil {
			t.Fatal(err)
		}
		others := make(chan error, 1)
		go func() {
			_, err := Parse(budget.Of(t.Context(), "mine"), "yaml", text)
			others <- err
		}()
		<-held.Done()
		_, err = document.Find(held, parsed(t, "yaml", "0"))
		const want = "reads of the namespace held more than half of the memory that large answers may take, while others waited for it (--answer-memory)"
		if status.Code(err) != codes.ResourceExhausted || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
		release()
		if err := <-others; err != nil {
			t.Error(err)
		}
	})
}

// TestNoTimeToParse: a text that is no use any more is not parsed.
func TestNoTimeToParse(t *testing.T) {
	for _, format := range []string{"json", "yaml", "xml", "prometheus"} {
		if _, err := Parse(&ending{Context: t.Context()}, format, []byte("a 1")); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func keysOf(n int) string {
	keys := &strings.Builder{}
	for i := range n {
		fmt.Fprintf(keys, "k%d: 1, ", i)
	}
	return keys.String()
}

// TestCostOfJSON holds what a path takes against what it is looked for in. Paths
// of GJSON that make lists took gigabytes.
func TestCostOfJSON(t *testing.T) {
	const size = 1 << 20
	texts := map[string]string{
		"numbers":    "[" + strings.Repeat("1,", size/2) + "1]",
		"lists":      "[" + strings.Repeat("[],", size/3) + "1]",
		"objects":    "[" + strings.Repeat(`{"a":1},`, size/8) + "1]",
		"deep":       strings.Repeat("[", 9_000) + strings.Repeat("1,", size/2) + "1" + strings.Repeat("]", 9_000),
		"keys":       "{" + strings.Repeat(`"a":{},`, size/7) + `"b":1}`,
		"brackets":   strings.Repeat("[", size),
		"in a text":  `["` + strings.Repeat("[", size) + `"]`,
		"a number":   `[` + strings.Repeat("9", size) + `]`,
		"whitespace": "[" + strings.Repeat(" ", size) + "1]",
	}
	for name, text := range texts {
		for _, place := range []string{
			"#.a", "#.#.#.a|#", "#(a==1)#|#", "#(a==1)#.a|@flatten|@flatten|#", "@values|@values|@keys|#", "*.*.*.*.*", "..#",
			strings.Repeat("#.", 31) + "a", strings.Repeat("@this|", 31) + "#", strings.Repeat("0.", 31) + "0", "a*a*a*.b",
		} {
			input := []byte(text)
			if taken := allocated(func() {
				if document, err := Parse(t.Context(), "json", input); err == nil {
					_, _ = document.Find(t.Context(), parsed(t, "json", place))
				}
			}); taken > 100*size {
				t.Errorf("%s in %s takes %d bytes", place[:min(len(place), 40)], name, taken)
			}
		}
	}
}

// allocated is how many bytes f asks for, those that it gives back included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// hostile are texts that took a parser gigabytes, minutes or its stack.
func hostile() map[string][]string {
	const size = 1 << 20
	keys := &strings.Builder{}
	for i := 0; keys.Len() < size-10; i++ {
		fmt.Fprintf(keys, "%x:\n", i)
	}
	labels := &strings.Builder{}
	for i := 0; labels.Len() < size-100; i++ {
		fmt.Fprintf(labels, `a%x="",`, i)
	}
	laughs := "a0: &a0 [1,1,1,1,1,1,1,1,1]\n"
	for i := 1; i < 30; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	return map[string][]string{
		"yaml": {
			keys.String(), laughs, strings.Repeat("[", size), strings.Repeat("{", size), strings.Repeat("- ", size/2), strings.Repeat("? ", size/2),
			"[" + strings.Repeat("1,", size/2-1) + "]", strings.Repeat("- #\n", size/4), strings.Repeat("#\n", size/2),
			"a: " + strings.Repeat("x", size-3), "a: &a {<<: *a, b: 1}", "a: &a\n  <<: [" + strings.Repeat("*a,", 1000) + "]",
			"a: !!int " + strings.Repeat("9", size/2), "a: " + strings.Repeat("9", size/2), "a: 1e-999999999", `a: "1e-999999999"`, "%YAML 9999999999.1\n---\na",
		},
		"xml": {
			strings.Repeat("<a>", size/3), "<r>" + strings.Repeat("<a/>", size/4-2) + "</r>", "<r>" + strings.Repeat("<b><a/></b>", size/11-1) + "</r>",
			"<r " + strings.Repeat("a='' ", size/5-1) + "/>", "<a>" + strings.Repeat("x", size-7) + "</a>", "<!DOCTYPE " + strings.Repeat("<", size/2) + ">",
			`<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r>&b;</r>`, "<?" + strings.Repeat("x", size-2),
		},
		"prometheus": {
			"a{" + labels.String() + "} 1\n", strings.Repeat("a 1\n", size/4), strings.Repeat("# TYPE a gauge\n", size/15), "a " + strings.Repeat("9", size-3),
			strings.Repeat("a{b=\"\"} 1\n", size/10), "# TYPE a histogram\n" + strings.Repeat("a_bucket{le=\"1\"} 1\n", size/19-1), `a{b="` + strings.Repeat(`\\`, size/2-10) + "\"} 1",
		},
	}
}

// TestCostOfTexts holds what is made of a hostile text against its size.
func TestCostOfTexts(t *testing.T) {
	for format, texts := range hostile() {
		for i, text := range texts {
			input := []byte(text)
			taken := allocated(func() { lookInto(t, format, input, "a.a.b") })
			v, e := countValues(format, input)
			t.Logf("%s %.20q taken %d KiB weight %d KiB %v", format, text, taken>>10, (v*200+len(text))>>10, e)
			if taken > 400<<20 {
				t.Errorf("%s %d, %.20q of %d bytes, takes %d bytes", format, i, text, len(text), taken)
			}
		}
	}
}

// lookInto parses a text and looks for a value in it.
func lookInto(t testing.TB, format string, text []byte, place string) {
	t.Helper()
	document, err := Parse(t.Context(), format, text)
	if err != nil {
		return
	}
	for _, text := range []string{place, "a"} {
		place, err := ParsePlace(format, text)
		if err != nil {
			continue
		}
		if value, err := document.Find(t.Context(), place); err == nil {
			_, _ = value.Number()
		}
	}
}

func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		format, text string
		limit        int64 // of who reads it, 0 for none
		message      string
	}{
		"large":        {"yaml", "a: " + strings.Repeat("x", 1<<20), 1 << 20, "the text is larger than the 1048576 bytes that yaml may have"},
		"small limit":  {"xml", "<a>1</a>", 5, "the text is larger than the 5 bytes that xml may have"},
		"larger limit": {"yaml", "a: 1\nb: " + strings.Repeat("x", 1<<20), 2 << 20, ""},
		"largest":      {"prometheus", "a 1\n#" + strings.Repeat(" ", MostBytes), 1 << 40, "the text is larger than the 4194304 bytes that prometheus may have"},
		"values":       {"yaml", "[" + strings.Repeat("1,", 300_000) + "]", 0, "the text has more than 500000 values"},
		"elements":     {"xml", "<r>" + strings.Repeat("<a/>", 600_000) + "</r>", MostBytes, "the text has more than 500000 values"},
		"samples":      {"prometheus", strings.Repeat("a 1\n", 130_000), 0, "the text has more than 500000 values"},
		"labels":       {"prometheus", "a{" + strings.Repeat(`b="",`, 101) + "} 1", 0, "the text has a line with more than 100 labels"},
		"many labels":  {"prometheus", "a 1\n" + strings.Repeat("b{c=\"d\",e=\"=\"} 1\n", 100), 0, ""},
		"JSON":         {"json", `{"a":"` + strings.Repeat("x", MostBytes) + `"}`, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckSize(tt.format, []byte(tt.text), cmp.Or(tt.limit, MostBytes))
			if err == nil {
				_, err = Parse(t.Context(), tt.format, []byte(tt.text))
			}
			if tt.message == "" && err != nil || tt.message != "" && (status.Code(err) != codes.FailedPrecondition || err.Error() != tt.message) {
				t.Errorf("error = %v, want %q", err, tt.message)
			}
		})
	}
}

func TestYAMLThatIsFollowed(t *testing.T) {
	for name, tt := range map[string]struct {
		text, path string
		want       float64
		code       codes.Code
		message    string
	}{
		"an alias":            {text: "x: &x {b: 7}\na: *x", path: "a.b", want: 7},
		"an alias of a list":  {text: "x: &x [1, 2]\na: *x", path: "a.1", want: 2},
		"an alias's value":    {text: "x: &x 9\na: *x", path: "a", want: 9},
		"a key by alias":      {text: "x: &x k\n*x : 3", path: "k", want: 3},
		"a merge":             {text: "x: &x {b: 7}\na: {<<: *x, c: 1}", path: "a.b", want: 7},
		"its own first":       {text: "x: &x {b: 7}\na: {<<: *x, b: 1}", path: "a.b", want: 1},
		"a list of merges":    {text: "x: &x {b: 7}\ny: &y {b: 8, c: 9}\na: {<<: [*x, *y]}", path: "a.b", want: 7},
		"a merge that is not": {text: `a: {"<<": 5}`, path: "a.<<", want: 5},
		"an own tag":          {text: "a: !!float 3", path: "a", want: 3},
		"hexadecimal":         {text: "a: {0x10: 4}", path: "a.16", want: 4},
		"a key twice":         {text: "a: {b: 1, b: 2}", path: "a.b", code: codes.FailedPrecondition, message: "what stands at a.b is in a map that has a key twice"},
		"another key twice":   {text: "a: {b: 1, b: 2, c: 3}", path: "a.c", want: 3},
		"within itself":       {text: "a: &a {<<: *a, b: 1}", path: "a.c", code: codes.FailedPrecondition, message: "what stands at a.c is behind too many merges within merges"},
		"a false tag":         {text: "a: !!int x", path: "a", code: codes.FailedPrecondition, message: "what stands at a is not what its tag says"},
		"nothing":             {text: "", path: "a", code: codes.FailedPrecondition, message: "what stands at a is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := numberAt("yaml", tt.text, tt.path)
			check(t, got, err, tt.want, tt.code, tt.message)
		})
	}
}

// TestKeysAndCounts is what GJSON does not tell from nothing, or finds in other
// places.
func TestKeysAndCounts(t *testing.T) {
	for place, want := range map[string]float64{
		"@keys|#": 3, "q|@keys|#": 0, "l.#": 0, "l.#(a==1)#|#": 0, "l.#.a|#": 0, "o.#.a.#|0": 2, "@values|#": 3,
	} {
		got, err := numberAt("json", `{"q":{},"l":[],"o":[{"a":[1,2]},{"a":[]}]}`, place)
		check(t, got, err, want, codes.OK, "")
	}
	for _, place := range []string{"x|@keys|#", "l|@keys|#", "x|@values|#", "x.#", "q.#", "x.#(a==1)#|#", "x|@flatten|#", "o.0.a.#(==3)", `o.#(a=="x")`} {
		_, err := numberAt("json", `{"q":{},"l":[],"o":[{"a":[1,2]},{"a":[]}]}`, place)
		check(t, 0, err, 0, codes.NotFound, "nothing stands at "+place)
	}
}

// TestNumbersThatAreTooMuch: the parser of quantities would write them out.
func TestNumbersThatAreTooMuch(t *testing.T) {
	for _, text := range []string{"1e-999999999", "99999999999999999999e99999999", strings.Repeat("9", 1<<20), " 1E-2147483648 "} {
		if _, err := Quantity(text); err == nil || err.Error() != "is a number that is out of range" {
			t.Errorf("%.30s: %v", text, err)
		}
	}
	for place, want := range map[string]float64{"huge": math.Inf(1), "tiny": 0, "long": 1} {
		got, err := numberAt("json", `{"huge":1e999999999,"tiny":1e-999999999,"long":1.`+strings.Repeat("0", 100_000)+`}`, place)
		check(t, got, err, want, codes.OK, "")
	}
	_, err := numberAt("json", `{"a":12abc}`, "a")
	check(t, 0, err, 0, codes.FailedPrecondition, "what stands at a is not a number")
}

// FuzzJSON proves that no text and no path do harm, and that GJSON finds the
// same in a text that is JSON.
func FuzzJSON(f *testing.F) {
	for _, text := range documents {
		for _, place := range places[:8] {
			f.Add([]byte(text), place)
		}
	}
	for _, place := range places {
		f.Add([]byte(documents[1]), place)
	}
	f.Add([]byte(`{"a`), "..#.a")
	f.Add([]byte(`"`), "..0")
	f.Fuzz(func(t *testing.T, text []byte, place string) {
		if taken := allocated(func() { lookInto(t, "json", text, place) }); taken > uint64(64*len(text)+64*len(place)+1<<20) {
			t.Errorf("%d bytes take %d", len(text), taken)
		}
	})
}

// FuzzTexts does so for the formats that a parser reads.
func FuzzTexts(f *testing.F) {
	formats := []string{"yaml", "xml", "prometheus"}
	for i, format := range formats {
		for _, text := range hostile()[format] {
			if len(text) < 10_000 {
				f.Add([]byte(text), uint8(i), "a.b")
			}
		}
	}
	f.Add([]byte("x: &x {b: [7]}\na: {<<: *x, c: 1}"), uint8(0), "a.b.0")
	f.Add([]byte("<r><a><b>1</b></a></r>"), uint8(1), "a.b")
	f.Add([]byte(scraped), uint8(2), `jobs{state="waiting"}`)
	f.Fuzz(func(t *testing.T, text []byte, format uint8, place string) {
		if taken := allocated(func() { lookInto(t, formats[int(format)%len(formats)], text, place) }); taken > uint64(2000*len(text)+100*len(place)+1<<20) {
			t.Errorf("%d bytes take %d", len(text), taken)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	text := []byte(`{"queues": [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}, {"n": 6}, {"n": 7}, {"n": 8}, {"n": 9}, {"n": 10}]}`)
	place := parsed(b, "json", "queues.7.n")
	for b.Loop() {
		document, err := Parse(b.Context(), "json", text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := document.Find(b.Context(), place); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDirectivesAreFew: each costs as much as all before it, between two looks at the
// context, however the lines end.
func TestDirectivesAreFew(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029"} {
		for n, refused := range map[int]bool{1: false, 100: false, 101: true, 40_000: true} {
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, "%%TAG !t%d! tag:%d,:%s", i, i, end)
			}
			text.WriteString("---" + end + "a: 1" + end)
			began := directives([]byte(text.String()))
			if began != n {
				t.Errorf("%q: %d directives, want %d", end, began, n)
			}
			if !refused {
				continue
			}
			if _, err := Parse(t.Context(), "yaml", []byte(text.String())); status.Code(err) != status.Code(notA("YAML")) || err.Error() != notA("YAML").Error() {
				t.Errorf("%q: %d directives: %v", end, n, err)
			}
		}
	}
	wide := "\xff\xfe"
	for _, c := range strings.Repeat("%TAG !a! b\n", 200) {
		wide += string([]byte{byte(c), 0})
	}
	if n := directives([]byte(wide)); n < 199 {
		t.Errorf("%d directives in a text of two bytes a character", n)
	}
	document, err := Parse(t.Context(), "yaml", []byte("a: 50%\nb:\n"+strings.Repeat("- x %\n", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	place, err := ParsePlace("yaml", "a")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := document.Find(t.Context(), place); err != nil || v.Text != "50%" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestLongScalarsAreTexts: they are not held against what numbers look like.
func TestLongScalarsAreTexts(t *testing.T) {
	document, err := Parse(t.Context(), "yaml", []byte("a: 1."+strings.Repeat("1", longestPlace)+"\nb: 1."+strings.Repeat("1", 100)+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for key, isText := range map[string]bool{"a": true, "b": false} {
		place, err := ParsePlace("yaml", key)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := document.Find(t.Context(), place); err != nil || v.IsText != isText {
			t.Errorf("%s: %+v, %v", key, v, err)
		}
	}
}
