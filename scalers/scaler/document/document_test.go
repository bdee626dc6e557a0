package document

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestValues(t *testing.T) {
	tests := map[string]struct {
		format     string
		text, path string
		want       float64
		code       codes.Code
		message    string
	}{
		"JSON number":                     {format: "json", text: `{"a":{"b":[1,7.5]}}`, path: "a.b.1", want: 7.5},
		"JSON quantity":                   {format: "json", text: `{"a":"500m"}`, path: "a", want: 0.5},
		"JSON of GJSON's own":             {format: "json", text: `{"q":[{"n":"a","v":1},{"n":"b","v":2}]}`, path: `q.#(n=="b").v`, want: 2},
		"JSON count":                      {format: "json", text: `[1,2,3]`, path: "#", want: 3},
		"lines of JSON":                   {format: "json", text: "{\"a\":1}\n{\"a\":2}", path: "..1.a", want: 2},
		"JSON without the value":          {format: "json", text: `{"a":1}`, path: "b", code: codes.NotFound, message: "nothing stands at b"},
		"JSON bool":                       {format: "json", text: `{"a":true}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is a bool"},
		"JSON null":                       {format: "json", text: `{"a":null}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is null"},
		"JSON object":                     {format: "json", text: `{"a":{}}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is an object or a list"},
		"JSON word":                       {format: "json", text: `{"a":"hush-hush"}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is neither a number nor a quantity"},
		"JSON with NaN elsewhere":         {format: "json", text: `{"a":NaN,"b":[-Infinity],"c":7}`, path: "c", want: 7},
		"JSON with a byte-order mark":     {format: "json", text: "\uFEFF{\"a\":7}", path: "a", want: 7},
		"JSON with commas too many":       {format: "json", text: `{"a":[1,2,],"b":7,}`, path: "b", want: 7},
		"JSON with text behind":           {format: "json", text: "{\"a\":7}\ndone in 3 ms }[", path: "a", want: 7},
		"JSON twice":                      {format: "json", text: `{"a":7}{"b":8}`, path: "b", code: codes.NotFound, message: "nothing stands at b"},
		"JSON with brackets in texts":     {format: "json", text: `{"x":"}\"]","a":7}`, path: "a", want: 7},
		"a number alone":                  {format: "json", text: " 7\n", path: "@this", want: 7},
		"a word alone":                    {format: "json", text: "many", path: "@this", code: codes.Unavailable, message: "the text is not JSON"},
		"JSON that breaks off in a text":  {format: "json", text: `{"a":1,"b":"}`, path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"JSON whose brackets differ":      {format: "json", text: strings.Repeat("[}", 1<<20), path: "@this", code: codes.Unavailable, message: "the text is not JSON"},
		"lines that nest for ever":        {format: "json", text: strings.Repeat("[", 1<<20), path: "..#", code: codes.Unavailable, message: "the text is not JSON"},
		"YAML with a byte-order mark":     {format: "yaml", text: "\uFEFFa: 7", path: "a", want: 7},
		"YAML with a document behind":     {format: "yaml", text: "a: 7\n---\nb: 8", path: "a", want: 7},
		"XML with a byte-order mark":      {format: "xml", text: "\uFEFF<r><m>7</m></r>", path: "m", want: 7},
		"half of JSON":                    {format: "json", text: `{"a":1,"b":`, path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"a page of HTML":                  {format: "json", text: `<html>`, path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"JSON that nests for ever":        {format: "json", text: strings.Repeat("[", 1<<20), path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"YAML integer":                    {format: "yaml", text: "a:\n  b:\n  - c: 12", path: "a.b.0.c", want: 12},
		"YAML float":                      {format: "yaml", text: "a: 1.5", path: "a", want: 1.5},
		"YAML quantity":                   {format: "yaml", text: "a: 2Ki", path: "a", want: 2048},
		"YAML number in quotes":           {format: "yaml", text: `a: "3"`, path: "a", want: 3},
		"YAML keys that are numbers":      {format: "yaml", text: "1: {true: 4}", path: "1.true", want: 4},
		"YAML value before the path ends": {format: "yaml", text: "a: 5", path: "a.b.c", want: 5},
		"YAML map":                        {format: "yaml", text: "a: {b: 1}", path: "a", code: codes.FailedPrecondition, message: "what stands at a is a map"},
		"YAML list":                       {format: "yaml", text: "a: [1]", path: "a", code: codes.FailedPrecondition, message: "what stands at a is a list"},
		"YAML bool":                       {format: "yaml", text: "a: true", path: "a", code: codes.FailedPrecondition, message: "what stands at a is a bool"},
		"YAML without a value":            {format: "yaml", text: "a:", path: "a", code: codes.FailedPrecondition, message: "what stands at a is empty"},
		"YAML date":                       {format: "yaml", text: "a: 2026-01-01", path: "a", code: codes.FailedPrecondition, message: "what stands at a is neither a number nor a text"},
		"YAML beyond the list":            {format: "yaml", text: "a: [1]", path: "a.1", code: codes.NotFound, message: "nothing stands at a.1"},
		"YAML without the key":            {format: "yaml", text: "a: {b: 1}", path: "a.c", code: codes.NotFound, message: "nothing stands at a.c"},
		"no YAML":                         {format: "yaml", text: "a: [", path: "a", code: codes.Unavailable, message: "the text is not YAML"},
		"XML":                             {format: "xml", text: "<jobs><waiting> 7 </waiting></jobs>", path: "waiting", want: 7},
		"XML with the outermost":          {format: "xml", text: "<?xml version=\"1.0\"?><jobs><waiting>7</waiting></jobs>", path: "jobs.waiting", want: 7},
		"XML of a name twice":             {format: "xml", text: "<a><a>3</a></a>", path: "a", want: 3},
		"XML list":                        {format: "xml", text: "<r><q><n>1</n></q><q><n>2</n></q><q><n>3</n></q></r>", path: "q.2.n", want: 3},
		"XML quantity":                    {format: "xml", text: "<r><m>1Ki</m></r>", path: "m", want: 1024},
		"XML in a namespace":              {format: "xml", text: `<x:r xmlns:x="urn:x"><x:m>1</x:m></x:r>`, path: "r.m", want: 1},
		"XML without the element":         {format: "xml", text: "<r><m>1</m></r>", path: "n", code: codes.NotFound, message: "nothing stands at n"},
		"XML that is empty there":         {format: "xml", text: "<r><m/></r>", path: "m", code: codes.FailedPrecondition, message: "what stands at m is neither a number nor a quantity"},
		"half of XML":                     {format: "xml", text: "<r><m>1</m>", path: "m", code: codes.Unavailable, message: "the text is not XML"},
		"two documents of XML":            {format: "xml", text: "<r>1</r><r>2</r>", path: "r", code: codes.Unavailable, message: "the text is not XML"},
		"XML that nests for ever":         {format: "xml", text: strings.Repeat("<a>", 1<<18), path: "a", code: codes.Unavailable, message: "the text is not XML"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := numberAt(tt.format, tt.text, tt.path)
			check(t, got, err, tt.want, tt.code, tt.message)
		})
	}
}

func numberAt(format, text, place string) (float64, error) {
	document, err := Parse(context.Background(), format, []byte(text))
	if err != nil {
		return 0, err
	}
	parsed, err := ParsePlace(format, place)
	if err != nil {
		return 0, err
	}
	value, err := document.Find(context.Background(), parsed)
	if err != nil {
		return 0, err
	}
	return value.Number()
}

func check(t *testing.T, got float64, err error, want float64, code codes.Code, message string) {
	t.Helper()
	if status.Code(err) != code || err != nil && status.Convert(err).Message() != message {
		t.Fatalf("error = %v, want %v %q", err, code, message)
	}
	if got != want {
		t.Errorf("value = %v, want %v", got, want)
	}
}

const scraped = `# HELP jobs Jobs.
# TYPE jobs gauge
jobs{queue="a",state="done"} 1
jobs{queue="a",state="waiting"} 7
jobs{queue="b\"c",state="waiting"} 8
# TYPE done counter
done 1e3
plain{} 3 1700000000000
# TYPE took histogram
took_bucket{le="+Inf"} 1
took_sum 2
took_count 1
nothing NaN
{"jobs.waiting","queue.name"="a"} 3
{"jobs.waiting","queue.name"="größer",state="x"} 4
`

func TestPrometheus(t *testing.T) {
	tests := map[string]struct {
		selector, text string
		want           float64
		code           codes.Code
		message        string
	}{
		"the first":              {selector: "jobs", want: 1},
		"one label":              {selector: `jobs{state="waiting"}`, want: 7},
		"all labels":             {selector: ` jobs { state = "waiting" , queue='b"c', } `, want: 8},
		"a regular expression":   {selector: `jobs{state=~"waiting"}`, want: 7},
		"a counter":              {selector: "done", want: 1000},
		"without a type":         {selector: "plain{}", want: 3},
		"a histogram":            {selector: "took", code: codes.NotFound, message: "nothing stands at took"},
		"part of a histogram":    {selector: "took_count", code: codes.NotFound, message: "nothing stands at took_count"},
		"no such label":          {selector: `jobs{queue="z"}`, code: codes.NotFound, message: `nothing stands at jobs{queue="z"}`},
		"no such metric":         {selector: "other", code: codes.NotFound, message: "nothing stands at other"},
		"Windows":                {selector: "a", text: "a 4\r\nb 5\r\n", want: 4},
		"without a last newline": {selector: "b", text: "a 4\nb 5", want: 5},
		"a quoted name":          {selector: `{"jobs.waiting"}`, want: 3},
		"quoted labels":          {selector: ` { "jobs.waiting" , "queue.name" = "größer", state="x" }`, want: 4},
		"a plain name, quoted":   {selector: `{"done"}`, want: 1000},
		"something else":         {selector: "a", text: "<html>", code: codes.Unavailable, message: "the text is not what Prometheus scrapes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text := tt.text
			if text == "" {
				text = scraped
			}
			got, err := numberAt("prometheus", text, tt.selector)
			check(t, got, err, tt.want, tt.code, tt.message)
		})
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := Parse(t.Context(), "toml", nil); err == nil {
		t.Error("toml is known")
	}
}

func TestSelectors(t *testing.T) {
	for text, want := range map[string]string{
		"":              `does not begin with the name of a metric, such as jobs_waiting{queue="a"}`,
		`{a="b"}`:       `does not begin with the name of a metric, such as jobs_waiting{queue="a"}`,
		"a b":           "has something else than {...} after the name",
		`a{b="c"`:       "has something else than {...} after the name",
		`a{b=c}`:        `has labels that are not label="value" with commas between them`,
		`a{b="c" d=""}`: "lacks a comma between labels",
		`a{b="\z"}`:     "has a value with a wrong escape",
	} {
		if _, err := ParseSelector(text); err == nil || err.Error() != want {
			t.Errorf("%s: error = %v, want %q", text, err, want)
		}
	}
	s, err := ParseSelector(`a{b=~"c.*",d="e",f!="g"}`)
	if err != nil || strings.Join(s.Inexact, " ") != `b=~"c.*" f!="g"` {
		t.Errorf("inexact = %q, %v", s.Inexact, err)
	}
}
