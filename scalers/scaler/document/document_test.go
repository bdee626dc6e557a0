package document

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestValues(t *testing.T) {
	type find = func([]byte, string) (Value, error)
	tests := map[string]struct {
		find       find
		text, path string
		want       float64
		code       codes.Code
		message    string
	}{
		"JSON number":                     {find: JSON, text: `{"a":{"b":[1,7.5]}}`, path: "a.b.1", want: 7.5},
		"JSON quantity":                   {find: JSON, text: `{"a":"500m"}`, path: "a", want: 0.5},
		"JSON of GJSON's own":             {find: JSON, text: `{"q":[{"n":"a","v":1},{"n":"b","v":2}]}`, path: `q.#(n=="b").v`, want: 2},
		"JSON count":                      {find: JSON, text: `[1,2,3]`, path: "#", want: 3},
		"lines of JSON":                   {find: JSON, text: "{\"a\":1}\n{\"a\":2}", path: "..1.a", want: 2},
		"JSON without the value":          {find: JSON, text: `{"a":1}`, path: "b", code: codes.NotFound, message: "nothing stands at b"},
		"JSON bool":                       {find: JSON, text: `{"a":true}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is a bool"},
		"JSON null":                       {find: JSON, text: `{"a":null}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is null"},
		"JSON object":                     {find: JSON, text: `{"a":{}}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is an object or a list"},
		"JSON word":                       {find: JSON, text: `{"a":"hush-hush"}`, path: "a", code: codes.FailedPrecondition, message: "what stands at a is neither a number nor a quantity"},
		"half of JSON":                    {find: JSON, text: `{"a":1,"b":`, path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"a page of HTML":                  {find: JSON, text: `<html>`, path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"JSON that nests for ever":        {find: JSON, text: strings.Repeat("[", 1<<20), path: "a", code: codes.Unavailable, message: "the text is not JSON"},
		"YAML integer":                    {find: YAML, text: "a:\n  b:\n  - c: 12", path: "a.b.0.c", want: 12},
		"YAML float":                      {find: YAML, text: "a: 1.5", path: "a", want: 1.5},
		"YAML quantity":                   {find: YAML, text: "a: 2Ki", path: "a", want: 2048},
		"YAML number in quotes":           {find: YAML, text: `a: "3"`, path: "a", want: 3},
		"YAML keys that are numbers":      {find: YAML, text: "1: {true: 4}", path: "1.true", want: 4},
		"YAML value before the path ends": {find: YAML, text: "a: 5", path: "a.b.c", want: 5},
		"YAML map":                        {find: YAML, text: "a: {b: 1}", path: "a", code: codes.FailedPrecondition, message: "what stands at a is a map"},
		"YAML list":                       {find: YAML, text: "a: [1]", path: "a", code: codes.FailedPrecondition, message: "what stands at a is a list"},
		"YAML bool":                       {find: YAML, text: "a: true", path: "a", code: codes.FailedPrecondition, message: "what stands at a is a bool"},
		"YAML without a value":            {find: YAML, text: "a:", path: "a", code: codes.FailedPrecondition, message: "what stands at a is empty"},
		"YAML date":                       {find: YAML, text: "a: 2026-01-01", path: "a", code: codes.FailedPrecondition, message: "what stands at a is neither a number nor a text"},
		"YAML beyond the list":            {find: YAML, text: "a: [1]", path: "a.1", code: codes.NotFound, message: "nothing stands at a.1"},
		"YAML without the key":            {find: YAML, text: "a: {b: 1}", path: "a.c", code: codes.NotFound, message: "nothing stands at a.c"},
		"no YAML":                         {find: YAML, text: "a: [", path: "a", code: codes.Unavailable, message: "the text is not YAML"},
		"XML":                             {find: XML, text: "<jobs><waiting> 7 </waiting></jobs>", path: "waiting", want: 7},
		"XML with the outermost":          {find: XML, text: "<?xml version=\"1.0\"?><jobs><waiting>7</waiting></jobs>", path: "jobs.waiting", want: 7},
		"XML of a name twice":             {find: XML, text: "<a><a>3</a></a>", path: "a", want: 3},
		"XML list":                        {find: XML, text: "<r><q><n>1</n></q><q><n>2</n></q><q><n>3</n></q></r>", path: "q.2.n", want: 3},
		"XML quantity":                    {find: XML, text: "<r><m>1Ki</m></r>", path: "m", want: 1024},
		"XML in a namespace":              {find: XML, text: `<x:r xmlns:x="urn:x"><x:m>1</x:m></x:r>`, path: "r.m", want: 1},
		"XML without the element":         {find: XML, text: "<r><m>1</m></r>", path: "n", code: codes.NotFound, message: "nothing stands at n"},
		"XML that is empty there":         {find: XML, text: "<r><m/></r>", path: "m", code: codes.FailedPrecondition, message: "what stands at m is neither a number nor a quantity"},
		"half of XML":                     {find: XML, text: "<r><m>1</m>", path: "m", code: codes.Unavailable, message: "the text is not XML"},
		"two documents of XML":            {find: XML, text: "<r>1</r><r>2</r>", path: "r", code: codes.Unavailable, message: "the text is not XML"},
		"XML that nests for ever":         {find: XML, text: strings.Repeat("<a>", 1<<20), path: "a", code: codes.Unavailable, message: "the text is not XML"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			value, err := tt.find([]byte(tt.text), tt.path)
			var got float64
			if err == nil {
				got, err = value.Number()
			}
			check(t, got, err, tt.want, tt.code, tt.message)
		})
	}
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
		"no such label":          {selector: `jobs{queue="z"}`, code: codes.NotFound, message: "nothing stands at jobs"},
		"no such metric":         {selector: "other", code: codes.NotFound, message: "nothing stands at other"},
		"Windows":                {selector: "a", text: "a 4\r\nb 5\r\n", want: 4},
		"without a last newline": {selector: "b", text: "a 4\nb 5", want: 5},
		"something else":         {selector: "a", text: "<html>", code: codes.Unavailable, message: "the text is not what Prometheus scrapes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := ParseSelector(tt.selector)
			if err != nil {
				t.Fatal(err)
			}
			text := tt.text
			if text == "" {
				text = scraped
			}
			got, err := Prometheus([]byte(text), s)
			check(t, got, err, tt.want, tt.code, tt.message)
		})
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
