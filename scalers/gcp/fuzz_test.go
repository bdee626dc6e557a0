package main

import (
	"encoding/json"
	"math"
	"testing"

	"cloud.google.com/go/spanner/apiv1/spannerpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// FuzzPage has Cloud Storage say anything: no more is counted than there is.
func FuzzPage(f *testing.F) {
	for _, text := range []string{`{"items":[{"size":"5"},{"size":"0"},{}],"nextPageToken":"x"}`, `{"items":[{"size":"-1"}]}`, `{"items":null}`, `{"items":[null]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		page := &objects{}
		if json.Unmarshal(text, page) != nil {
			return
		}
		if n, err := page.count(); n < 0 || n > int64(len(page.Items)) || err != nil && n != 0 {
			t.Errorf("%d of %d are counted, %v", n, len(page.Items), err)
		}
	})
}

// FuzzFirstValue has Cloud Spanner say anything: what comes of it is a finite number
// or an error.
func FuzzFirstValue(f *testing.F) {
	for _, parts := range [][]*spannerpb.PartialResultSet{
		result(spannerpb.TypeCode_INT64, structpb.NewStringValue("7")), result(spannerpb.TypeCode_FLOAT64, structpb.NewNumberValue(2.5)),
		result(spannerpb.TypeCode_NUMERIC, structpb.NewNullValue()),
	} {
		text, err := proto.Marshal(parts[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var v firstValue
		for _, text := range [][]byte{one, two} {
			part := &spannerpb.PartialResultSet{}
			if proto.Unmarshal(text, part) != nil {
				return
			}
			if !v.whole {
				v.add(part)
			}
		}
		if n, err := v.number(); err == nil && (math.IsNaN(n) || math.IsInf(n, 0)) {
			t.Errorf("%v is a value", n)
		}
	})
}

// FuzzQuoted proves that a text stays one literal of a filter, whatever it holds.
func FuzzQuoted(f *testing.F) {
	for _, text := range []string{"orders", `a" OR "b`, `c\`, `\"`, ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		escaped := false
		literal := quoted(text)
		for i, b := range []byte(literal) {
			switch end := i == 0 || i == len(literal)-1; {
			case escaped:
				escaped = false
			case b == '\\':
				escaped = true
			case (b == '"') != end:
				t.Fatalf("%q ends at %d", literal, i)
			}
		}
		if escaped {
			t.Errorf("%q does not end", literal)
		}
	})
}

// BenchmarkSubscriptions reads a thousand subscriptions of a project.
func BenchmarkSubscriptions(b *testing.B) {
	c := newCloud(b)
	sources := c.subscriptions(b, 1000)
	before := len(c.Requests())
	rounds := 0
	for b.Loop() {
		for at := 0; at < len(sources); at += 500 {
			for _, r := range readTogether(b, sources[at:at+500]) {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		}
		rounds++
	}
	b.ReportMetric(float64(len(c.Requests())-before)/float64(rounds), "requests/reading")
	b.ReportMetric(float64(1000*rounds)/b.Elapsed().Seconds(), "subscriptions/s")
}
