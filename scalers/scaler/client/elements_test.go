package client

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestEachElement(t *testing.T) {
	type element struct{ A int }
	for text, want := range map[string]string{
		`[{"a":1},{"a":2},{}]`: "1 2 0 ", `[]`: "", `null`: "", `[{"a":1},`: "1 error", `{"a":1}`: "error", `[{"a":"x"}]`: "error", ``: "error",
	} {
		var got strings.Builder
		err := EachElement(nil, []byte(text), element{}, func(element element) { got.WriteByte(byte('0' + element.A)); got.WriteByte(' ') })
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
	if err := EachElement(nil, text, large{}, func(large) { elements++ }); err != nil || elements != 300_001 {
		t.Fatal(elements, err)
	}
	runtime.ReadMemStats(&during)
	if grown := int64(during.HeapSys) - int64(before.HeapSys); grown > 256<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// nested is a list whose elements are lists that are decoded by themselves.
type nested struct {
	count int
	turn  func() error
}

func (n *nested) UnmarshalJSON(text []byte) error {
	return EachElement(n.turn, text, json.Number(""), func(json.Number) { n.count++ })
}

// TestListsAreReadInTurn: between pieces of a list, and of those within it, it is
// others' turn, and when there is none in time nothing goes on.
func TestListsAreReadInTurn(t *testing.T) {
	const pieces = 50
	flat := "[" + strings.Repeat("1,", pieces*piece/2) + "1]"
	for name, text := range map[string]string{
		"many short ones": "[" + strings.Repeat("[],", pieces*piece/3) + "[]]",
		"one long one":    "[" + flat + "]",
	} {
		turns, late := 0, errors.New("late")
		if err := EachElement(func() error { turns++; return nil }, []byte(text), nested{turn: func() error { turns++; return nil }}, func(nested) {}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if turns < pieces-1 {
			t.Errorf("%s: %d turns, want about %d", name, turns, pieces)
		}
		left := 3
		turn := func() error {
			if left--; left > 0 {
				return nil
			}
			return late
		}
		elements := 0
		err := EachElement(turn, []byte(text), nested{turn: turn}, func(n nested) { elements += 1 + n.count })
		if !errors.Is(err, late) || elements > 4*piece {
			t.Errorf("%s: %v after %d elements", name, err, elements)
		}
	}
	elements := 0
	turn := func() error { return errors.New("a turn for a short text") }
	if err := EachElement(turn, []byte(flat[:piece-2]+"1]"), 0, func(int) { elements++ }); err != nil || elements == 0 {
		t.Error(err)
	}
}
