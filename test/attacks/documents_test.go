package attacks

import (
	"fmt"
	"strings"
	"testing"
)

// document is what a server of a tenant shows, and where the tenant says that
// the number is.
type document struct{ format, text, location string }

// TestDocuments has metrics-api read documents and paths that grow while they
// are read: depth, aliases, paths that multiply what they find, endless lines.
func TestDocuments(t *testing.T) {
	t.Parallel()
	numbers := "[" + strings.Repeat("1,", 400_000) + "1]"
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for n := range 12 {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s*a%d]\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*a%d,", n), 8), n)
	}
	merges := &strings.Builder{}
	merges.WriteString("a0: &a0 {x: 1}\n")
	for n := range 7 {
		fmt.Fprintf(merges, "a%d: &a%d {<<: [%s*a%d]}\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*a%d, ", n), 9), n)
	}
	documents := map[string]document{
		"brackets":         {"json", strings.Repeat("[", 8<<20), "0.0"},
		"number":           {"json", `{"a":` + strings.Repeat("9", 8<<20) + `}`, "a"},
		"string":           {"json", `{"a":"` + strings.Repeat("9", 8<<20) + `"}`, "a"},
		"escapes":          {"json", `{"a":"` + strings.Repeat(`\u0000`, 1<<20) + `"}`, "a"},
		"laughs":           {"yaml", laughs.String(), "a12"},
		"laughs in a path": {"yaml", laughs.String(), "a12.0.0.0.0.0.0.0.0.0.0.0.0.0"},
		"yaml depth":       {"yaml", fill("["), "a"},
		"yaml flow":        {"yaml", fill("{a: "), "a"},
		"yaml indentation": {"yaml", staircase(1500), "a"},
		"yaml items":       {"yaml", fill("- a\n"), "0"},
		"yaml keys":        {"yaml", fill("? a\n"), "a"},
		"yaml anchors":     {"yaml", fill("- &a x\n"), "0"},
		"yaml self":        {"yaml", "a: &a\n  b: *a\n", "a.b.b.b.b"},
		"yaml merge":       {"yaml", "a: &a {<<: *a}\n", "a.b"},
		"yaml comments":    {"yaml", fill("#\n"), "a"},
		"yaml documents":   {"yaml", fill("---\n"), "a"},
		"yaml tags":        {"yaml", "a: !!binary " + fill("A"), "a"},
		"yaml number":      {"yaml", "a: 0x" + fill("f"), "a"},
		"xml depth":        {"xml", fill("<a>"), "a.a"},
		"xml attributes":   {"xml", "<a " + fill(`b="" `) + "/>", "a"},
		"xml entities":     {"xml", `<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]><a>&c;</a>`, "a"},
		"xml external":     {"xml", `<!DOCTYPE a [<!ENTITY a SYSTEM "file:///var/run/secrets/kubernetes.io/serviceaccount/token">]><a>&a;</a>`, "a"},
		"xml comment":      {"xml", "<!--" + fill("x"), "a"},
		"xml siblings":     {"xml", "<a>" + fill("<b/>") + "</a>", "a.b.1"},
		"scrape line":      {"prometheus", "a{b=\"" + fill("x") + "\"} 1", "b"},
		"scrape lines":     {"prometheus", fill("a 1\n"), "b"},
		"scrape labels":    {"prometheus", "a{" + fill(`b="c",`) + "} 1", "b"},
		"scrape names":     {"prometheus", fill("# TYPE a histogram\n"), "b"},
		"json steps":       {"json", strings.Repeat("[", 30) + strings.Repeat("1,", 4<<20) + strings.Repeat("]", 30), strings.Repeat("0.", 31) + "0"},
		"json pattern":     {"json", `{"` + strings.Repeat("a", 8<<20) + `":1}`, "*" + strings.Repeat("a", 60) + "b"},
		"json query":       {"json", "[" + strings.Repeat(`"`+strings.Repeat("a", 4000)+`",`, 2000) + "1]", `#(%"*` + strings.Repeat("a", 60) + `b")#|#`},
		"json escapes":     {"json", `{"a":[` + strings.Repeat(`"`+strings.Repeat(`\u0061`, 1000)+`",`, 1300) + "1]}", `a.#(=="x")#|#`},
		"json lists":       {"json", "[" + strings.Repeat("[[[[1]]]],", 800_000) + "1]", "#.#.#.#|@flatten|@flatten|@flatten|0.x"},
		"yaml merges":      {"yaml", merges.String(), "a7.b"},
		"large yaml":       {"yaml", strings.Repeat("- [a, {b: c}]\n", 1<<20), "a"},
		"large xml":        {"xml", strings.Repeat(`<a><b c="d"/>`, 1<<20), "a"},
		"large scrape":     {"prometheus", strings.Repeat("a{b=\"c\"} 1\n", 1<<20), "b"},
	}
	// Most of these are refused as they stand, without a look at the answer.
	paths := map[string]document{
		"doubling":          {"json", numbers, strings.Repeat("[@this,@this]|", 12) + "0"},
		"objects":           {"json", numbers, strings.Repeat(`{"a":@this,"b":@this}|`, 10) + "a"},
		"pretty":            {"json", numbers, strings.Repeat("@pretty|@ugly|", 10) + "0"},
		"indent":            {"json", numbers, `@pretty:{"indent":"` + strings.Repeat(" ", 4000) + `"}|0`},
		"tostr":             {"json", numbers, strings.Repeat("@tostr|", 24) + "0"},
		"wildcards":         {"json", `{"` + strings.Repeat("a", 100_000) + `":1}`, strings.Repeat("a*", 40) + "b"},
		"queries":           {"json", numbers, `#(#(#(#(>0)#)#)#)#`},
		"long path":         {"json", numbers, strings.Repeat("0.", 100_000) + "0"},
		"recursion":         {"json", strings.Repeat(`{"a":`, 500_000) + "1", strings.Repeat("a.", 3000) + "a"},
		"location too long": {"yaml", "a: 1", strings.Repeat("a.", 100_000) + "a"},
	}
	sieges := map[string]siege{}
	add := func(name string, d document, unasked bool) {
		sieges[name] = siege{trigger: "metrics-api", unasked: unasked, lie: lie{answer: page(d.text)}, metadata: map[string]string{
			"url": "http://ADDRESS/", "format": d.format, "valueLocation": d.location, "targetValue": "1",
		}}
	}
	for name, d := range documents {
		add(name, d, false)
	}
	for name, d := range paths {
		add(name, d, true)
	}
	besiege(t, "http", sieges)
}

// fill repeats a text to just less than the most that a document may have.
func fill(text string) string { return strings.Repeat(text, (1<<20-100)/len(text)) }

// staircase is a mapping in a mapping in a mapping, by its indentation.
func staircase(steps int) string {
	var text strings.Builder
	for n := range steps {
		text.WriteString(strings.Repeat(" ", n) + "a:\n")
	}
	return text.String()
}
