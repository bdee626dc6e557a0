package client

import (
	"runtime"
	"strings"
	"testing"
)

func TestEachElement(t *testing.T) {
	for text, want := range map[string]string{
		`[{"a":1},{"a":2},{}]`: "1 2 0 ", `[]`: "", `null`: "", `[{"a":1},`: "1 error", `{"a":1}`: "error", `[{"a":"x"}]`: "error", ``: "error",
	} {
		var got strings.Builder
		err := EachElement([]byte(text), func(element struct{ A int }) { got.WriteByte(byte('0' + element.A)); got.WriteByte(' ') })
		if err != nil {
			got.WriteString("error")
		}
		if got.String() != want {
			t.Errorf("%s: %q, want %q", text, got.String(), want)
		}
	}
}

// TestEachElementIsForgotten: a list of a megabyte and many elements took the
// memory of all of them.
func TestEachElementIsForgotten(t *testing.T) {
	type large struct{ Filler [1000]int64 }
	text := []byte("[" + strings.Repeat("{},", 300_000) + "{}]")
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	elements := 0
	if err := EachElement(text, func(large) { elements++ }); err != nil || elements != 300_001 {
		t.Fatal(elements, err)
	}
	runtime.ReadMemStats(&during)
	if grown := int64(during.HeapSys) - int64(before.HeapSys); grown > 256<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
